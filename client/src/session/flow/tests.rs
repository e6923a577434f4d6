use proptest::{collection::vec, prelude::*};

use super::*;
use crate::session::queue::events;

proptest! {
    /// However it is written and taken, what is sent is what was written, each byte once and in order, and no more than there is room for.
    #[test]
    fn fuzz_input_is_sent_as_it_was_written(turns in vec((0..90_000_usize, 0..120_000_u64, 0..100_u64), 1..20)) {
        let (sender, _events) = events();
        let mut flow = Flow::new(Id(1), 0, Opening::Attach([0; 2]), sender, watch::channel(Received::default()).0);
        let (mut written, mut sent, mut room) = (Vec::new(), Vec::<u8>::new(), 0);
        for (length, more, taken) in turns {
            let piece: Vec<u8> = (written.len()..written.len() + length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            flow.write(&piece);
            written.extend(piece);
            room = room.max(sent.len() as u64 + more);
            flow.room(sent.len() as u64 * taken / 100, room);
            for request in flow.take_input() {
                let Request::Input { offset, data, .. } = request else { panic!("{request:?}") };
                prop_assert!(offset == sent.len() as u64 && (1..=CHUNK).contains(&data.len()));
                sent.extend(data);
            }
            prop_assert_eq!(&sent[..], &written[..sent.len()]);
            prop_assert_eq!(sent.len(), written.len().min(usize::try_from(room).unwrap()));
        }
    }
}
