//! The bulkhead against a model: a list of who is in and a list of who waits.

use std::collections::VecDeque;

use pelton_resilience::{Bulkhead, Entry, Ticket};

#[test]
fn lets_in_as_two_plain_lists_would() {
    for seed in 1..200_u64 {
        let mut state = seed;
        let mut number = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % end
        };
        let (limit, queue) = (1 + number(4) as usize, number(5) as usize);
        let mut bulkhead = Bulkhead::new(limit, queue);
        let mut running = 0_usize;
        let mut waiting: VecDeque<Ticket> = VecDeque::new();
        let mut admitted: Vec<Ticket> = Vec::new();
        for _ in 0..500 {
            match number(3) {
                0 => match bulkhead.enter() {
                    Entry::Entered => {
                        assert!(running < limit);
                        running += 1;
                    }
                    Entry::Waits(ticket) => {
                        assert!(running == limit && waiting.len() < queue);
                        waiting.push_back(ticket);
                    }
                    Entry::Full => assert!(running == limit && waiting.len() == queue),
                },
                1 if running > 0 => match bulkhead.leave() {
                    Some(ticket) => {
                        assert_eq!(Some(ticket), waiting.pop_front(), "first come, first served");
                        admitted.push(ticket);
                    }
                    None => {
                        assert!(waiting.is_empty());
                        running -= 1;
                    }
                },
                _ => {
                    if let Some(place) = (!waiting.is_empty()).then(|| number(waiting.len() as u64))
                    {
                        let ticket = waiting.remove(place as usize).expect("it waits");
                        assert!(bulkhead.withdraw(ticket));
                        assert!(!bulkhead.withdraw(ticket));
                    } else if let Some(ticket) = admitted.pop() {
                        assert!(!bulkhead.withdraw(ticket), "its turn had come");
                    }
                }
            }
            assert_eq!(bulkhead.running(), running);
            assert_eq!(bulkhead.waiting(), waiting.len());
        }
    }
}
