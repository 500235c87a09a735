//! Asking the processor to bring a value into its cache.
//!
//! The one place of the engine with `unsafe`. An ordinary read would do the same, but it stays in flight until memory
//! answers and holds up all that comes after it: with reads, an operation took about 40 ns
//! more (decision 0005).

/// Asks for the first cache line of a value. Changes nothing, whatever becomes of the value.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(
            unsafe_code,
            reason = "the standard library has no safe name for this instruction"
        )]
        // SAFETY: a prefetch has no effect but on speed and never faults, whatever the address; this one is of a
        // live reference.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
