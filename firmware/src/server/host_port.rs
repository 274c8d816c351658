//! Answers a host that calls a camera board between two of its frames.
//!
//! The board goes on watching until a message begins, and again when none follows for a while, or the host says that it is
//! done. There is nothing to open: each message is whole in itself, and the plan is the one in flash.

use super::{BoardInfo, scores as tell_scores, tell_plan, tensor};
use crate::boot::ModelError;
use crate::camera::Camera;
use crate::engine::Engine;
use crate::transport::rtt::{RttInput, RttReader, RttOutput, RttWriter};
use crate::transport::{Broken, FrameMessage, Link, StreamError, Report, Source, refuse};
use crate::profile::Counter;
use crate::time::{Clock, Watchdog};
use ocellus_shared::Frame;
use ocellus_shared::preprocess::preprocess;
use ocellus_shared::scores;
use ocellus_shared::wire::{Header, Kind, Refusal, Reply};

/// How long the board waits for the next message of a host that has just sent one.
const LINGER_US: u64 = 500_000;
/// Most bytes of one reply with rows; a row that is longer has one for itself.
const ROWS_BYTES: usize = 1024;

/// What a host that calls can ask about.
#[derive(Debug)]
pub struct HostContext<'s, 'p, 'm> {
    /// What runs the model in flash, or why nothing does.
    pub engine: Result<&'s mut Engine<'p, 'm>, &'s ModelError>,
    /// The newest camera frame.
    pub frame: Option<Frame<'s>>,
    /// Room for a frame that the host sends.
    pub room: &'s mut [u8],
}

/// Who may call a board between two frames.
pub trait HostHandler {
    /// Serves them if they do: whether they did. It may take long, but has an end, and the watchdog is fed.
    fn answer(&mut self, scene: HostContext) -> bool;
}

/// Nobody.
impl HostHandler for () {
    fn answer(&mut self, _: HostContext) -> bool {
        false
    }
}

/// The board's end of a line that a host may call on.
#[derive(Debug)]
pub struct HostPort<I, O, K, C> {
    link: Link<RttInput<I, K>, RttOutput<O, K>>,
    counter: C,
    plate: BoardInfo,
}

impl<I: RttReader, O: RttWriter, K: Clock + Watchdog + Copy, C: Counter> HostPort<I, O, K, C> {
    /// A door that nobody has come to.
    pub fn new(inlet: I, outlet: O, timer: K, counter: C, plate: BoardInfo) -> Self {
        Self { link: Link::new(RttInput::new(inlet, timer), RttOutput::new(outlet, timer)), counter, plate }
    }

    /// Answers messages until there are no more.
    fn serve(&mut self, scene: &mut HostContext) -> Result<(), StreamError> {
        loop {
            let header = self.link.header()?;
            match header.kind {
                Kind::End => {
                    self.link.end();
                    return Ok(());
                }
                _ => self.answer_one(&header, scene)?,
            }
            if !self.link.source.waits(LINGER_US) {
                return Ok(());
            }
        }
    }

    fn answer_one(&mut self, header: &Header, scene: &mut HostContext) -> Result<(), StreamError> {
        let link = &mut self.link;
        match (header.kind, &mut scene.engine) {
            (Kind::Hello, engine) => {
                link.leave_out(header)?;
                self.plate.tell(link);
                match engine {
                    Ok(engine) => tell_plan(link, header.sequence, engine.plan()),
                    Err(error) => error.answer(header.sequence, link),
                }
                Ok(())
            }
            (Kind::Show, Ok(_)) => {
                link.leave_out(header)?;
                show(link, header, scene.frame.as_ref());
                Ok(())
            }
            (Kind::Plan, _) => {
                link.leave_out(header)?;
                let what = &"this board runs the plan in its flash: write another with `ocellus flash --model`";
                link.refuse(header.sequence, Refusal::PlanTooLarge, [header.payload_len, 0], what);
                Ok(())
            }
            (Kind::Watch, _) => link.pass_over(header, Refusal::BadWatch, 0),
            (_, Err(error)) => {
                link.leave_out(header)?;
                error.answer(header.sequence, link);
                Ok(())
            }
            (Kind::Frame, Ok(engine)) => look(link, header, engine, scene.room),
            (_, Ok(engine)) => tensor(link, header, engine, &mut self.counter),
        }
    }
}

impl<I: RttReader, O: RttWriter, K: Clock + Watchdog + Copy, C: Counter> HostHandler for HostPort<I, O, K, C> {
    fn answer(&mut self, mut scene: HostContext) -> bool {
        if !self.link.source.hears() {
            return false;
        }
        self.link.report.turn_to_host();
        if self.serve(&mut scene).is_err() {
            // The host has been told, if it is still there. What it sends of the lost message must not be taken for another.
            self.link.source.drain();
        }
        true
    }
}

/// Takes a frame that the host sends as if the camera had taken it, but for what was seen before and the output.
fn look<S: Source, R: Report>(
    link: &mut Link<S, R>,
    header: &Header,
    engine: &mut Engine,
    room: &mut [u8],
) -> Result<(), StreamError> {
    let sequence = header.sequence;
    let frame = match (FrameMessage { link, header }).capture(room) {
        Ok(frame) => frame,
        Err(Broken::Refused) => return Ok(()),
        Err(Broken::StreamError) => return Err(StreamError),
    };
    let plan = *engine.plan();
    if let Err(error) = preprocess(&frame, plan.crop(), plan.input().shape, engine.input_mut()) {
        link.refuse(sequence, Refusal::BadFrame, [0, 0], &error);
        return Ok(());
    }
    let values = engine.run();
    tell_scores(link, header, values);
    let class = scores::best(values).class;
    let name = plan.label(usize::from(class)).unwrap_or_default();
    let margin = scores::margin(values, plan.output_params());
    link.reply(Reply::Label { sequence, class: u32::from(class), margin, steady: false, name });
    Ok(())
}

/// Sends a frame, some rows at a time.
fn show(report: &mut impl Report, header: &Header, frame: Option<&Frame>) {
    let sequence = header.sequence;
    let Some(frame) = frame else {
        let what = &"the camera has given no frame yet, or none any more: the log says why";
        return refuse(report, sequence, Refusal::NoFrame, [0, 0], what);
    };
    let (format, width, height) = (frame.format(), frame.width(), frame.height());
    report.reply(Reply::Picture { sequence, format, width, height });
    let row = usize::from(width) * format.bytes_per_pixel();
    let rows = (ROWS_BYTES / row).max(1);
    for (part, bytes) in frame.data().chunks(rows * row).enumerate() {
        report.reply(Reply::Rows { sequence, first: (part * rows) as u32, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocellus_shared::PixelFormat;
    use ocellus_shared::plan::encode::{PlanSpec, StepSpec, encode};
    use ocellus_shared::plan::{Crop, Operand, Plan};
    use ocellus_shared::wire::{HEADER_LEN, packet};
    use ocellus_shared::{Op, Shape};
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    /// Time that goes on where somebody waits; feedings are counted.
    #[derive(Default)]
    struct Desk {
        now_us: Cell<u64>,
        fed_us: Cell<u64>,
        /// Longest time between two feedings.
        hungry_us: Cell<u64>,
    }

    impl Clock for Desk {
        fn now_us(&self) -> u64 {
            self.now_us.get()
        }

        fn wait_until_us(&self, time_us: u64) {
            self.now_us.set(time_us.max(self.now_us.get()));
        }
    }

    impl Watchdog for Desk {
        fn start(&self, _: u32) {}

        fn feed(&self) {
            let now = self.now_us.get();
            self.hungry_us.set(self.hungry_us.get().max(now - self.fed_us.get()));
            self.fed_us.set(now);
        }
    }

    /// A probe's ends of the two rings, which have `room` bytes.
    struct Probe {
        down: RefCell<VecDeque<u8>>,
        up: RefCell<Vec<u8>>,
        room: usize,
    }

    impl RttReader for &Probe {
        fn read(&mut self, buffer: &mut [u8]) -> usize {
            // Few at a time, as a slow probe brings them.
            let mut down = self.down.borrow_mut();
            let count = buffer.len().min(down.len()).min(7);
            buffer.iter_mut().zip(down.drain(..count)).for_each(|(to, from)| *to = from);
            count
        }
    }

    impl RttWriter for &Probe {
        fn write(&mut self, bytes: &[u8]) -> usize {
            let mut up = self.up.borrow_mut();
            let count = bytes.len().min(self.room - up.len());
            up.extend(&bytes[..count]);
            count
        }
    }

    struct Ones(u64);

    impl Counter for Ones {
        fn instructions(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }

        fn watch_stack(&mut self) {}

        fn stack_bytes(&mut self) -> u32 {
            40
        }
    }

    /// A network that says how red, green and blue a picture of 4x4 is.
    fn plan() -> Vec<u8> {
        let (shape, means) = (Shape::new(4, 4, 3), Shape::vector(3));
        let at = |offset, shape| Operand { offset, shape, zero: 0 };
        let mean = StepSpec {
            op: Op::GlobalAvgPool,
            inputs: vec![at(0, shape)],
            output: at(shape.len(), means),
            scratch: (0, 0),
            strip_rows: 0,
            weights: vec![],
            biases: vec![0],
            multipliers: vec![0.0625],
        };
        let spec = PlanSpec {
            digest: [1, 2, 3, 4, 5, 6, 7, 8],
            arena_bytes: shape.len() + means.len(),
            input: at(0, shape),
            crop: Crop::Centre,
            output: at(shape.len(), means),
            output_scale: 0.125,
            labels: ["red", "green", "blue"].map(String::from).to_vec(),
            steps: vec![mean],
        };
        encode(&spec).unwrap()
    }

    fn message(kind: Kind, sequence: u32, payload: &[u8]) -> Vec<u8> {
        [&Header::new(kind, sequence, payload.len() as u32).emit()[..], payload].concat()
    }

    /// What happened at a door.
    struct Visit {
        /// How often somebody was there when the board looked `looks` times.
        visits: usize,
        replies: Vec<String>,
        took_us: u64,
        hungry_us: u64,
    }

    fn visit(bytes: &[u8], room: usize, model: Option<&[u8]>, frame: Option<Frame>, looks: usize) -> Visit {
        let (desk, up) = (Desk::default(), RefCell::default());
        let probe = Probe { down: RefCell::new(bytes.iter().copied().collect()), up, room };
        let plate = BoardInfo { name: "desk", plan_bytes: 8, arena_bytes: 9 };
        let mut door = HostPort::new(&probe, &probe, &desk, Ones(0), plate);
        let mut arena = vec![0; 64];
        let mut engine = model.map(|bytes| Engine::new(Plan::parse(bytes).unwrap(), &mut arena).unwrap());
        let mut room = [0; 64];
        let mut visits = 0;
        for _ in 0..looks {
            let engine = engine.as_mut().ok_or(&ModelError::Empty);
            visits += usize::from(door.answer(HostContext { engine, frame, room: &mut room }));
        }
        let up = probe.up.borrow();
        let (mut replies, mut rest) = (Vec::new(), &up[..]);
        while let Ok(Some((reply, length))) = packet::parse(rest) {
            replies.push(format!("{reply:?}"));
            rest = &rest[length..];
        }
        Visit { visits, replies, took_us: desk.now_us.get(), hungry_us: desk.hungry_us.get() }
    }

    fn red() -> Vec<u8> {
        (0..16).flat_map(|_| [100, 20, 0xf6]).collect()
    }

    const PLENTY: usize = 1 << 16;

    #[test]
    fn nobody_is_not_waited_for() {
        let Visit { visits, replies, took_us, .. } = visit(&[], PLENTY, Some(&plan()), None, 5);
        assert_eq!((visits, replies.len(), took_us), (0, 0, 0));
    }

    #[test]
    fn a_host_learns_who_it_is_and_gets_the_engines_scores() {
        let messages = [
            message(Kind::Hello, 1, &[]),
            message(Kind::Tensor, 2, &red()),
            message(Kind::Trace, 3, &red()),
            message(Kind::Profile, 4, &red()),
            message(Kind::End, 5, &[]),
        ];
        let came = visit(&messages.concat(), PLENTY, Some(&plan()), None, 2);
        assert_eq!((came.visits, came.replies.len()), (1, 9), "{:?}", came.replies);
        assert!(came.replies[0].contains(r#"board: "desk", plan_bytes: 8, arena_bytes: 9"#));
        assert!(came.replies[1].contains("digest: [1, 2, 3, 4, 5, 6, 7, 8], steps: 1"));
        assert!(came.replies[2].contains("Scores { sequence: 2,") && came.replies[2].contains("[100, 20, -10]"));
        assert!(came.replies[3].starts_with("Step { sequence: 3, index: 0"));
        assert!(came.replies[5].starts_with("Cost { sequence: 4, index: 0, instructions: 1"));
        assert_eq!(came.replies[8], "End { messages: 5 }");
        // The end is not waited for.
        assert!(came.took_us < 10_000, "{}", came.took_us);
    }

    #[test]
    fn a_frame_of_the_host_goes_through_the_boards_own_preprocessing() {
        let grey = [77; 16];
        let header = Header::frame(PixelFormat::Grey8, 4, 4, 6, 16);
        let bytes = [&header.emit()[..], &grey, &message(Kind::End, 7, &[])].concat();
        let came = visit(&bytes, PLENTY, Some(&plan()), None, 1);
        assert!(came.replies[0].contains("[-51, -51, -51]"), "{:?}", came.replies);
        assert!(came.replies[1].contains(r#"class: 0, margin: 0.0, steady: false, name: "red""#), "{:?}", came.replies);
        // Larger than the room.
        let header = Header::frame(PixelFormat::Grey8, 10, 10, 6, 100);
        let came = visit(&[&header.emit()[..], &[0; 100]].concat(), PLENTY, Some(&plan()), None, 1);
        assert!(came.replies[0].contains("FrameTooLarge, needed: 100, available: 64"), "{:?}", came.replies);
    }

    #[test]
    fn the_newest_frame_comes_in_whole_rows() {
        let pixels: Vec<u8> = (0..300u32 * 2 * 5).map(|i| (i * 7 % 251) as u8).collect();
        let frame = Frame::new(PixelFormat::Rgb565Le, 300, 5, &pixels).unwrap();
        let show = [message(Kind::Show, 1, &[]), message(Kind::End, 2, &[])].concat();
        let came = visit(&show, PLENTY, Some(&plan()), Some(frame), 1);
        assert_eq!(came.replies[0], "Picture { sequence: 1, format: Rgb565Le, width: 300, height: 5 }");
        let rows: Vec<String> = (0..5)
            .map(|y| format!("Rows {{ sequence: 1, first: {y}, bytes: {:?} }}", &pixels[600 * y..600 * (y + 1)]))
            .collect();
        assert_eq!(came.replies[1..6], rows);
        let without = visit(&show, PLENTY, Some(&plan()), None, 1);
        assert!(without.replies[0].contains("NoFrame"), "{:?}", without.replies);
    }

    #[test]
    fn a_board_without_a_model_answers_all_the_same() {
        let messages = [message(Kind::Hello, 1, &[]), message(Kind::Tensor, 2, &[0; 48]), message(Kind::End, 3, &[])];
        let came = visit(&messages.concat(), PLENTY, None, None, 1);
        assert!(came.replies[0].starts_with("Ready"));
        assert!(came.replies[1].starts_with("Error { sequence: 1, refusal: NoPlan"), "{:?}", came.replies);
        assert!(came.replies[2].starts_with("Error { sequence: 2, refusal: NoPlan"), "{:?}", came.replies);
        assert_eq!(came.replies[3], "End { messages: 3 }");
    }

    #[test]
    fn what_a_board_does_not_take_is_refused_and_the_next_message_is_read() {
        let messages = [
            message(Kind::Plan, 1, &[0; 500]),
            message(Kind::Watch, 2, &[0; 12]),
            message(Kind::Tensor, 3, &[0; 47]),
            message(Kind::Tensor, 4, &red()),
            message(Kind::End, 5, &[]),
        ];
        let came = visit(&messages.concat(), PLENTY, Some(&plan()), None, 1);
        for (reply, start) in came.replies.iter().zip(["PlanTooLarge", "BadWatch", "BadTensor"]) {
            assert!(reply.contains(start), "{reply}");
        }
        assert!(came.replies[3].contains("[100, 20, -10]"), "{:?}", came.replies);
    }

    #[test]
    fn a_host_that_goes_away_costs_some_time_and_no_more() {
        let tensor = message(Kind::Tensor, 1, &red());
        for length in [1, HEADER_LEN - 1, HEADER_LEN, tensor.len() - 1] {
            let came = visit(&tensor[..length], PLENTY, Some(&plan()), None, 3);
            assert_eq!(came.visits, 1, "{length} bytes");
            assert!(came.replies[0].contains("Truncated"), "{:?}", came.replies);
            assert!(came.took_us < 1_500_000, "{} us", came.took_us);
            assert!(came.hungry_us < 1_000, "the watchdog waited for {} us", came.hungry_us);
        }
        // It asks and does not listen: the ring is full, and stays so.
        let many: Vec<u8> = (0..40).flat_map(|i| message(Kind::Tensor, i, &red())).collect();
        let came = visit(&many, 100, Some(&plan()), None, 3);
        assert!(came.took_us < 2_000_000 && came.hungry_us < 1_000, "{} us", came.took_us);
    }

    #[test]
    fn a_lost_stream_is_waited_out_and_the_next_message_answered() {
        let (desk, up) = (Desk::default(), RefCell::default());
        let probe = Probe { down: RefCell::new(vec![0x55; 300].into()), up, room: PLENTY };
        let plate = BoardInfo { name: "desk", plan_bytes: 8, arena_bytes: 9 };
        let mut door = HostPort::new(&probe, &probe, &desk, Ones(0), plate);
        let mut visit = || door.answer(HostContext { engine: Err(&ModelError::Empty), frame: None, room: &mut [] });
        assert!(visit() && !visit());
        probe.down.borrow_mut().extend(message(Kind::Hello, 9, &[]));
        assert!(visit());
        let up = probe.up.borrow();
        let (first, length) = packet::parse(&up).unwrap().unwrap();
        assert!(matches!(first, Reply::Error { refusal: Refusal::BadHeader, .. }), "{first:?}");
        let (second, _) = packet::parse(&up[length..]).unwrap().unwrap();
        assert!(matches!(second, Reply::Ready { .. }), "{second:?}");
    }
}
