//! What a client makes of a board that answers well, wrongly, too much, or not at all.

use super::*;
use std::collections::VecDeque;

/// Brings one chunk of bytes at each reading, the last one for ever if it is to be repeated.
struct Script {
    chunks: VecDeque<Vec<u8>>,
    repeats: bool,
}

impl Transport for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        // One byte at a time, as a ring that is nearly full takes them.
        Ok(bytes.len().min(1))
    }

    fn read(&mut self, received: &mut Vec<u8>, timeout: Duration) -> Result<()> {
        match self.chunks.pop_front() {
            Some(chunk) => {
                received.extend(&chunk);
                if self.repeats && self.chunks.is_empty() {
                    self.chunks.push_back(chunk);
                }
            }
            None => std::thread::sleep(timeout.min(Duration::from_millis(5))),
        }
        Ok(())
    }

    fn log(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn explain_silence(&self, _: Duration) -> String {
        "nothing came".to_owned()
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

fn bytes(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet::emit(reply, &mut |part| bytes.extend_from_slice(part));
    bytes
}

fn client(board: &str, chunks: Vec<Vec<u8>>, repeats: bool) -> Client {
    let script = Script { chunks: chunks.into(), repeats };
    Client::new(&Board::load(board).unwrap(), Box::new(script), Duration::from_millis(50))
}

fn scores(sequence: u32, values: &[i8]) -> Vec<u8> {
    bytes(&Reply::Scores { sequence, crc: tensor_crc(values), values })
}

fn fails(chunks: Vec<Vec<u8>>, repeats: bool) -> String {
    format!("{:#}", client("weact-h743", chunks, repeats).scores(&[1, 2, 3]).unwrap_err())
}

#[test]
fn replies_come_in_any_pieces_and_others_are_passed_over() {
    let stream = [scores(9, &[9]), bytes(&Reply::End { messages: 1 }), scores(1, &[1, -2]), scores(2, &[3])].concat();
    for size in [1, 7, stream.len()] {
        let mut client = client("mps2-an500", stream.chunks(size).map(<[u8]>::to_vec).collect(), false);
        assert_eq!(client.scores(&[1]).unwrap(), [1, -2]);
        assert_eq!(client.scores(&[1]).unwrap(), [3]);
    }
}

#[test]
fn damaged_scores_and_bytes_that_are_no_packets_are_noticed() {
    let wrong = bytes(&Reply::Scores { sequence: 1, crc: tensor_crc(&[1, -2]), values: &[1, -3] });
    assert!(fails(vec![wrong], false).contains("scores were damaged"));
    assert!(fails(vec![b"panicked at".to_vec()], false).contains("no reply"));
    // A length that no packet has is not waited for.
    let long = [&b"OCR2"[..], &u32::MAX.to_le_bytes(), &[0; 4]].concat();
    assert!(fails(vec![long], false).contains("no reply"));
}

#[test]
fn a_board_that_says_nothing_or_never_the_answer_is_given_up() {
    let begun = Instant::now();
    assert_eq!(fails(vec![], false), "nothing came");
    assert_eq!(fails(vec![bytes(&Reply::End { messages: 1 })], true), "nothing came");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn refusals_are_told_with_what_to_do() {
    let refusal = |board: &str, refusal, needed, available| {
        let error = Reply::Error { sequence: 1, refusal, needed, available, detail: "because" };
        client(board, vec![bytes(&error)], false).scores(&[1]).unwrap_err()
    };
    for (code, parts) in [
        (Refusal::BadTensor, &["weact-h743 refuses: bad-tensor because", "needed 7, there are 5"][..]),
        (Refusal::NoPlan, &["no-plan because", "ocellus flash MODEL --board weact-h743 --model"]),
        (Refusal::Truncated, &["truncated because", "lower --speed"]),
        (Refusal::FrameTooLarge, &["7 bytes, the board has room for 5", "--frame-size", "--frame-format"]),
    ] {
        let message = refusal("weact-h743", code, 7, 5).to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let emulated = refusal("mps2-an500", Refusal::NoPlan, 0, 0).to_string();
    assert!(!emulated.contains("ocellus flash"), "{emulated}");
    assert!(refusal("weact-h743", Refusal::ArenaTooSmall, 7, 5).downcast_ref::<DoesNotFit>().is_some());
}

#[test]
fn boards_and_models_are_told_apart() {
    let greeting = |board| bytes(&Reply::Ready { board, plan_bytes: 1, arena_bytes: 1 });
    let plan = |digest| bytes(&Reply::Plan { sequence: 1, digest, steps: 1, arena_bytes: 1 });
    let hello = |board| client("weact-h743", vec![[greeting(board), plan([1; 8])].concat()], false).hello();
    assert_eq!(hello("weact-h743").unwrap(), Some([1; 8]));
    let other = hello("openmv-h7").unwrap_err().to_string();
    assert!(other.contains("that of openmv-h7, not of weact-h743") && other.contains("ocellus flash"), "{other}");
    let client = client("weact-h743", vec![], false);
    let other = client.check_digest([0x1f; 8], [1; 8]).unwrap_err().to_string();
    assert!(other.contains("1f1f1f1f1f1f1f1f") && other.contains("--model"), "{other}");
}

#[test]
fn rows_of_a_frame_are_put_together_and_gaps_are_noticed() {
    let head = bytes(&Reply::Frame { sequence: 1, format: PixelFormat::Grey8, width: 2, height: 3 });
    let rows = |first, bytes_of| bytes(&Reply::Rows { sequence: 1, first, bytes: bytes_of });
    let frame = |parts: &[Vec<u8>]| client("weact-h743", parts.to_vec(), false).newest_frame();
    let whole = frame(&[head.clone(), rows(0, b"abcd"), rows(2, b"ef")]).unwrap().unwrap();
    assert_eq!((whole.width, whole.height, &whole.data[..]), (2, 3, &b"abcdef"[..]));
    for wrong in [rows(1, b"cd"), rows(0, b""), rows(0, b"abcdefgh")] {
        assert!(frame(&[head.clone(), wrong]).is_err());
    }
    let none = bytes(&Reply::Error { sequence: 1, refusal: Refusal::NoFrame, needed: 0, available: 0, detail: "" });
    assert_eq!(frame(&[none]).unwrap(), None);
}
