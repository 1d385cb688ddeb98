// SPDX-License-Identifier: Apache-2.0
//! How much output ExecSync returns. Each stream may hold 16 MiB, and so may the whole message,
//! or the client loses it: both streams share what one message takes.

/// The most a client receives in one message, bytes.
pub const MESSAGE_MAX: usize = 16 << 20;

/// What is left of it for output. The rest of the message is a few dozen bytes.
const OUTPUT_MAX: usize = MESSAGE_MAX - 1024;

/// Both streams, cut so that they fit in one message. Neither can take the other's half, but each
/// may use what the other leaves.
#[must_use]
pub fn fit(mut stdout: Vec<u8>, mut stderr: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let half = OUTPUT_MAX / 2;
    stdout.truncate(OUTPUT_MAX - stderr.len().min(half));
    stderr.truncate(OUTPUT_MAX - stdout.len());
    (stdout, stderr)
}

#[cfg(test)]
mod tests {
    use crisp_cri::ExecSyncResponse;
    use prost::Message;

    use super::*;

    fn fitted(stdout: usize, stderr: usize) -> (usize, usize) {
        let (stdout, stderr) = fit(vec![b'x'; stdout], vec![b'y'; stderr]);
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
        assert_eq!(fitted(16 << 20, 10), (OUTPUT_MAX - 10, 10));
        assert_eq!(fitted(10, 16 << 20), (10, OUTPUT_MAX - 10));
        assert_eq!(fitted(16 << 20, 16 << 20), (OUTPUT_MAX / 2, OUTPUT_MAX / 2));
    }
}
