//! A slab: values in one vector, named by 32-bit handles, freed places used again.
//!
//! Invariant: a handle that was given out and not removed names its value. What a place held before is not told
//! apart, so whoever removes a value forgets its handle.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

use crate::prefetch::{prefetch_at, prefetch_end_at};

/// The name of a value in an [`Arena`]. Four bytes, and so is an `Option` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle(NonZeroU32);

impl Handle {
    /// The handle of a place in a vector.
    #[inline(always)]
    pub(crate) fn at(position: usize) -> Self {
        let number = u32::try_from(position)
            .ok()
            .and_then(|number| number.checked_add(1));
        Self(
            number
                .and_then(NonZeroU32::new)
                .expect("an arena holds less than 2^32 values"),
        )
    }

    /// The place in the vector.
    #[inline(always)]
    pub(crate) fn position(self) -> usize {
        usize::try_from(self.0.get() - 1).expect("32 bits fit a usize")
    }
}

/// A slab of values.
#[derive(Clone, Debug)]
pub(crate) struct Arena<T> {
    places: Vec<Option<T>>,
    free: Vec<Handle>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Arena<T> {
    #[inline(always)]
    pub(crate) fn insert(&mut self, value: T) -> Handle {
        if let Some(handle) = self.free.pop() {
            self.places[handle.position()] = Some(value);
            return handle;
        }
        let handle = Handle::at(self.places.len());
        self.places.push(Some(value));
        // The list of the free grows with the places, so that giving one back never takes memory.
        if self.free.capacity() < self.places.capacity() {
            self.free.reserve(self.places.capacity());
        }
        handle
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, handle: Handle) -> T {
        let value = self.places[handle.position()].take();
        self.free.push(handle);
        value.expect("a handle names a value until it is removed")
    }

    /// Asks for a value, whether or not it is there.
    #[inline(always)]
    pub(crate) fn prefetch(&self, handle: Handle) {
        prefetch_at(&self.places, handle.position());
    }

    /// Asks for the end of a value, whether or not it is there.
    #[inline(always)]
    pub(crate) fn prefetch_end(&self, handle: Handle) {
        prefetch_end_at(&self.places, handle.position());
    }

    /// Sets places aside until there are so many. They are written, so that none is first touched when it is used.
    pub(crate) fn make_room(&mut self, count: usize) {
        let taken = self.places.len();
        if taken < count {
            self.places.resize_with(count, || None);
            self.free.extend((taken..count).rev().map(Handle::at));
        }
    }

    /// How many places there are, taken or free: the bound of every handle's position.
    pub(crate) fn place_count(&self) -> usize {
        self.places.len()
    }

    /// The handle of every value, in the order of their places.
    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> {
        let places = self.places.iter().enumerate();
        let taken = places.filter(|(_, value)| value.is_some());
        taken.map(|(position, _)| Handle::at(position))
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl<T> Index<Handle> for Arena<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, handle: Handle) -> &T {
        self.places[handle.position()]
            .as_ref()
            .expect("a handle names a value until it is removed")
    }
}

impl<T> IndexMut<Handle> for Arena<T> {
    #[inline(always)]
    fn index_mut(&mut self, handle: Handle) -> &mut T {
        self.places[handle.position()]
            .as_mut()
            .expect("a handle names a value until it is removed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_place_is_used_again() {
        let mut arena = Arena::default();
        let first = arena.insert('a');
        let second = arena.insert('b');
        assert_eq!(arena.remove(first), 'a');
        assert_eq!(arena.insert('c'), first);
        assert_eq!((arena[first], arena[second], arena.len()), ('c', 'b', 2));
    }
}
