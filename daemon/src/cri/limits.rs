// SPDX-License-Identifier: Apache-2.0
//! How much output ExecSync returns. Each stream may hold 16 MiB, and so may the whole message,
//! or the client loses it: both streams share what one message takes.

/// The most a client receives in one message, bytes.
pub const MESSAGE_MAX: usize = 16 << 20;

/// What is left of it for output. The rest of the message is a few dozen bytes.
const OUTPUT_MAX: usize = MESSAGE_MAX - 1024;

/// Output of one stream as it is read: what goes beyond the limit is counted and dropped, so that
/// the command can go on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Output {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Output {
    /// Takes more output.
    pub fn push(&mut self, more: &[u8]) {
        let room = OUTPUT_MAX - self.bytes.len();
        let kept = more.len().min(room);
        self.bytes.extend_from_slice(&more[..kept]);
        self.dropped += (more.len() - kept) as u64;
    }

    /// Bytes that were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Both streams, cut so that they fit in one message. Neither stream can take the other's half,
/// but each may use what the other leaves.
#[must_use]
pub fn fit(stdout: Output, stderr: Output) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (stdout.bytes, stderr.bytes);
    let half = OUTPUT_MAX / 2;
    let for_stdout = OUTPUT_MAX - stderr.len().min(half);
    stdout.truncate(for_stdout);
    stderr.truncate(OUTPUT_MAX - stdout.len());
    (stdout, stderr)
}

#[cfg(test)]
mod tests {
    use crisp_cri::ExecSyncResponse;
    use prost::Message;

    use super::*;

    fn output(length: usize) -> Output {
        let mut output = Output::default();
        output.push(&vec![b'x'; length]);
        output
    }

    fn fitted(stdout: usize, stderr: usize) -> (usize, usize) {
        let (stdout, stderr) = fit(output(stdout), output(stderr));
        let lengths = (stdout.len(), stderr.len());
        let message = ExecSyncResponse { stdout, stderr, exit_code: -1 };
        assert!(message.encoded_len() <= MESSAGE_MAX);
        lengths
    }

    #[test]
    fn small_output_is_whole() {
        assert_eq!(fitted(0, 0), (0, 0));
        assert_eq!(fitted(10 << 20, 5 << 20), (10 << 20, 5 << 20));
    }

    #[test]
    fn a_flood_on_one_stream_leaves_the_other_its_half() {
        assert_eq!(fitted(40 << 20, 10), (OUTPUT_MAX - 10, 10));
        assert_eq!(fitted(10, 40 << 20), (10, OUTPUT_MAX - 10));
        let (stdout, stderr) = fitted(40 << 20, 40 << 20);
        assert_eq!((stdout, stderr), (OUTPUT_MAX / 2, OUTPUT_MAX / 2));
    }

    #[test]
    fn what_is_dropped_is_counted() {
        let mut output = output(OUTPUT_MAX - 1);
        output.push(b"abc");
        assert_eq!(output.dropped(), 2);
        output.push(b"d");
        assert_eq!(output.dropped(), 3);
    }
}
