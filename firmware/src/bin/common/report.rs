//! Replies as defmt log lines, in the form that [`ocellus_shared::wire`] describes.

use ocellus_firmware::transport::Report;
use ocellus_shared::wire::Reply;

/// Writes to the log, whatever its level.
pub struct Defmt;

impl Report for Defmt {
    fn reply(&mut self, reply: Reply<'_, &[i8]>) {
        match reply {
            Reply::Ready { board, plan_bytes, arena_bytes } => {
                defmt::println!(
                    "ready board={=str} plan_bytes={=u32} arena_bytes={=u32}",
                    board,
                    plan_bytes,
                    arena_bytes
                );
            }
            Reply::Plan { sequence, digest, steps, arena_bytes } => defmt::println!(
                "plan seq={=u32} digest={=u64:016x} steps={=u32} arena_bytes={=u32}",
                sequence,
                u64::from_be_bytes(digest),
                steps,
                arena_bytes
            ),
            Reply::Scores { sequence, crc, values } => {
                defmt::println!("scores seq={=u32} crc={=u32:08x} values={=[?]}", sequence, crc, values);
            }
            Reply::Label { sequence, class, margin, steady, name } => defmt::println!(
                "label seq={=u32} class={=u32} margin={=f32} steady={=bool} name={=str}",
                sequence,
                class,
                margin,
                steady,
                name
            ),
            Reply::Step { sequence, index, crc } => {
                defmt::println!("step seq={=u32} index={=u32} crc={=u32:08x}", sequence, index, crc);
            }
            Reply::Cost { sequence, index, instructions } => {
                defmt::println!("cost seq={=u32} index={=u32} instructions={=u64}", sequence, index, instructions);
            }
            Reply::Profile { sequence, instructions, stack_bytes } => defmt::println!(
                "profile seq={=u32} instructions={=u64} stack_bytes={=u32}",
                sequence,
                instructions,
                stack_bytes
            ),
            Reply::Seen { sequence, class, settled, margin, latency_us, interval_us, name } => defmt::println!(
                "seen seq={=u32} class={=u32} settled={=bool} margin={=f32} latency_us={=u32} interval_us={=u32} name={=str}",
                sequence,
                class,
                settled,
                margin,
                latency_us,
                interval_us,
                name
            ),
            Reply::Fault { sequence, what, tally } => defmt::println!(
                "fault seq={=u32} what={=str} turns={=u32} frames={=u32} missing={=u32} overruns={=u32} losses={=u32} restarts={=u32}",
                sequence,
                what,
                tally.turns,
                tally.frames,
                tally.missing,
                tally.overruns,
                tally.losses,
                tally.restarts
            ),
            Reply::Watched { sequence, tally } => defmt::println!(
                "watched seq={=u32} turns={=u32} frames={=u32} missing={=u32} overruns={=u32} losses={=u32} restarts={=u32}",
                sequence,
                tally.turns,
                tally.frames,
                tally.missing,
                tally.overruns,
                tally.losses,
                tally.restarts
            ),
            Reply::Error { sequence, refusal, needed, available, detail } => defmt::println!(
                "error seq={=u32} code={=str} needed={=u32} available={=u32} detail={=str}",
                sequence,
                refusal.name(),
                needed,
                available,
                detail
            ),
            Reply::End { messages } => defmt::println!("end messages={=u32}", messages),
            // Far more than a log is for.
            Reply::Picture { .. } | Reply::Rows { .. } => {}
        }
    }
}
