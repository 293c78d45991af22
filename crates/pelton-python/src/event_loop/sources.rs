//! What the loop watches, by the key that its events carry.

use std::os::fd::RawFd;
use std::rc::Rc;

use super::watch::Watch;
use crate::transport::datagrams::Datagrams;
use crate::transport::listener::Listener;
use crate::transport::stream::Stream;

/// Who gets a descriptor's events.
#[derive(Clone)]
pub(crate) enum Source {
    /// A connection.
    Stream(Rc<Stream>),
    /// A datagram socket.
    Datagrams(Rc<Datagrams>),
    /// A listening socket.
    Listener(Rc<Listener>),
    /// `add_reader` and `add_writer`.
    Watch(Rc<Watch>),
}

/// A slab. A key holds the slot in its low 32 bits and the slot's generation in the others, so an
/// event that was on its way while its descriptor was closed finds nobody.
#[derive(Default)]
pub(super) struct Sources {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    entry: Option<(RawFd, Source)>,
}

impl Sources {
    pub(super) fn insert(&mut self, fd: RawFd, source: Source) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.entry = Some((fd, source));
        (slot.generation as usize) << 32 | index as usize
    }

    pub(super) fn get(&self, key: usize) -> Option<Source> {
        let slot = self.slots.get(key as u32 as usize)?;
        let entry = slot.entry.as_ref().filter(|_| slot.generation as usize == key >> 32)?;
        Some(entry.1.clone())
    }

    /// The removed source is returned: dropping it may run Python.
    pub(super) fn remove(&mut self, key: usize) -> Option<Source> {
        let slot = self.slots.get_mut(key as u32 as usize)?;
        if slot.generation as usize != key >> 32 {
            return None;
        }
        let (_, source) = slot.entry.take()?;
        // The waker has the key that is all ones.
        slot.generation = (slot.generation + 1) % (u32::MAX - 1);
        self.free.push(key as u32);
        Some(source)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref().map(|entry| &entry.1))
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref().map(|entry| entry.0))
    }
}
