//! The code that a type's rules refer to, made for each type by the compiler.

/// Writes a type's default value.
///
/// # Safety
///
/// `at` is valid for writing a `T`, and aligned.
pub unsafe fn write_default<T: Default>(at: *mut u8) {
    // SAFETY: by the caller.
    unsafe { at.cast::<T>().write(T::default()) };
}

/// Makes a `B` from an `A`.
///
/// # Safety
///
/// - `from` points to a value of `A` that nobody changes meanwhile.
/// - `to` is valid for writing a `B`, and aligned.
pub unsafe fn convert<A, B: for<'a> From<&'a A>>(from: *const u8, to: *mut u8) {
    // SAFETY: by the caller.
    unsafe { to.cast::<B>().write(B::from(&*from.cast::<A>())) };
}

/// Drops a value.
///
/// # Safety
///
/// `at` points to a value of `T`, which is not used afterwards.
pub unsafe fn drop_value<T>(at: *mut u8) {
    // SAFETY: by the caller.
    unsafe { at.cast::<T>().drop_in_place() };
}
