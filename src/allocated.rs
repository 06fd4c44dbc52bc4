//! Counts the bytes that a thread allocates, so that tests can bound how much memory an operation takes.
#![allow(unsafe_code, reason = "the trait is unsafe; everything is passed on to the system's allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work`. Returns its result, and how many bytes it allocated in all, whether it freed them or not.
pub(crate) fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.get();
    let result = work();
    (result, BYTES.get() - before)
}

/// Does `work`. Returns its result, and by how many bytes the memory that the thread holds grew meanwhile. Each allocation counts with
/// the size to which glibc rounds it.
pub(crate) fn held<T>(work: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    let result = work();
    (result, HELD.get().wrapping_sub(before))
}

fn count(bytes: usize) {
    BYTES.set(BYTES.get().wrapping_add(bytes));
    HELD.set(HELD.get().wrapping_add(rounded(bytes)));
}

fn count_back(bytes: usize) {
    HELD.set(HELD.get().wrapping_sub(rounded(bytes)));
}

/// Returns what glibc sets aside for an allocation: 8 bytes more for itself, in steps of 16 bytes, and at least 32.
fn rounded(bytes: usize) -> isize {
    (bytes.saturating_add(8).next_multiple_of(16)).max(32).cast_signed()
}

// SAFETY: each call is passed on as it is, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        count_back(layout.size());
        // SAFETY: the caller keeps the promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count_back(layout.size());
        // SAFETY: the caller keeps the promises.
        unsafe { System.dealloc(at, layout) }
    }
}
