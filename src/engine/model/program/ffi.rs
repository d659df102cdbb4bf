//! The functions of `program.cpp`, made safe.

#![expect(
    unsafe_code,
    reason = "tch has no safe way to a program's buffers; every call says why it is sound"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{self, NonNull};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::or_null;

/// A program of LibTorch with its places.
#[repr(C)]
pub(super) struct Program {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn program_load(path: *const c_char, device: c_int, program: *mut *mut Program) -> *mut c_char;
    fn program_free(program: *mut Program);
    fn program_free_text(text: *mut c_char);
    fn program_tensors(program: *const Program) -> usize;
    fn program_tensor(
        program: *const Program,
        index: usize,
        name: *mut *const c_char,
        class_name: *mut *const c_char,
        is_parameter: *mut c_int,
        value: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn program_forward(
        program: *mut Program,
        values: *mut *mut C_tensor,
        frozen: *const u8,
        train: c_int,
        input: *mut C_tensor,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// A tensor that a program keeps.
pub(super) struct Found {
    pub(super) name: String,
    /// Of the module that keeps it: `Conv2d`.
    pub(super) class: String,
    pub(super) is_parameter: bool,
    /// Shares its values with the program.
    pub(super) value: Tensor,
}

/// What a place is given for a run.
pub(super) struct Given<'a> {
    /// Nothing leaves what is there.
    pub(super) value: Option<&'a Tensor>,
    pub(super) frozen: bool,
}

/// Turns an error's text into a result, and frees it.
fn checked(text: *mut c_char) -> Result<(), String> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: a text that is not null was made by `strdup` for the caller, who gives it back once.
    unsafe {
        let error = CStr::from_ptr(text).to_string_lossy().into_owned();
        program_free_text(text);
        Err(error)
    }
}

/// Reads a program from a file.
pub(super) fn load(path: &Path, device: Device) -> Result<NonNull<Program>, String> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let device = match device {
        Device::Cuda(index) => index as c_int,
        _ => -1,
    };
    let mut program = ptr::null_mut();
    // SAFETY: the path ends in a zero and the place for the program is there; both outlive the call.
    checked(unsafe { program_load(path.as_ptr(), device, &raw mut program) })?;
    NonNull::new(program).ok_or_else(|| "there is no program".to_owned())
}

/// Frees a program, which must not be used again.
pub(super) fn free(program: NonNull<Program>) {
    // SAFETY: only the drop of its one owner calls this.
    unsafe { program_free(program.as_ptr()) }
}

/// All tensors that a program keeps, in its order.
pub(super) fn tensors(program: NonNull<Program>) -> Result<Vec<Found>, String> {
    // SAFETY: the program lives as long as its owner, who asks.
    let count = unsafe { program_tensors(program.as_ptr()) };
    (0..count).map(|index| tensor(program, index)).collect()
}

fn tensor(program: NonNull<Program>, index: usize) -> Result<Found, String> {
    let (mut name, mut class, mut value) = (ptr::null(), ptr::null(), ptr::null_mut());
    let mut is_parameter = 0;
    // SAFETY: the index is below the count, and all places for results are there.
    checked(unsafe {
        program_tensor(
            program.as_ptr(),
            index,
            &raw mut name,
            &raw mut class,
            &raw mut is_parameter,
            &raw mut value,
        )
    })?;
    // SAFETY: without an error the texts are the program's own and end in a zero, and the tensor is new
    // and belongs to the caller.
    unsafe {
        Ok(Found {
            name: CStr::from_ptr(name).to_string_lossy().into_owned(),
            class: CStr::from_ptr(class).to_string_lossy().into_owned(),
            is_parameter: is_parameter != 0,
            value: Tensor::from_ptr(value),
        })
    }
}

/// Runs a program.
///
/// - given: one for each of [`tensors`], in their order
pub(super) fn forward(
    program: NonNull<Program>,
    given: &[Given<'_>],
    input: &Tensor,
    train: bool,
) -> Result<Tensor, String> {
    let mut values: Vec<*mut C_tensor> = given.iter().map(|given| or_null(given.value)).collect();
    let frozen: Vec<u8> = given.iter().map(|given| u8::from(given.frozen)).collect();
    let mut output = ptr::null_mut();
    // SAFETY: one thread at a time has the program, which is not `Sync`; there are as many values and
    // flags as the program has places, whose number the caller took from `tensors`; the tensors are
    // borrowed for the call, and LibTorch counts its own references to what they share. A value is
    // written to only as an in-place operation of tch does, which takes a shared tensor, too.
    let error = unsafe {
        program_forward(
            program.as_ptr(),
            values.as_mut_ptr(),
            frozen.as_ptr(),
            c_int::from(train),
            input.as_ptr().cast_mut(),
            &raw mut output,
        )
    };
    checked(error)?;
    // SAFETY: without an error the tensor is new and belongs to the caller.
    Ok(unsafe { Tensor::from_ptr(output) })
}
