//! Choosing the device, and opening LibTorch's CUDA part where it is there.

use tch::{Cuda, Device};

/// The device by its name on the command line.
///
/// The binary is linked to LibTorch's CPU part alone, so that it runs everywhere; the CUDA part is
/// opened here, before the first tensor, where LibTorch's folder has it.
///
/// # Errors
/// A sentence that names the legal values, or what there is.
pub fn open(wanted: &str) -> Result<Device, String> {
    if wanted == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match wanted {
        "auto" => None,
        _ => Some(wanted.strip_prefix("cuda:").and_then(|index| index.parse().ok()).ok_or_else(
            || {
                format!(
                    "device `{wanted}` is unknown; legal are `auto`, `cpu`, `cuda:0`, `cuda:1`, …"
                )
            },
        )?),
    };
    let opened = open_cuda();
    let cards = if opened.is_ok() { Cuda::device_count() } else { 0 };
    match index {
        None if cards > 0 => Ok(Device::Cuda(0)),
        None => Ok(Device::Cpu),
        Some(index) if (index as i64) < cards => Ok(Device::Cuda(index)),
        Some(_) => Err(match opened {
            Ok(()) => format!("device `{wanted}` is not there; LibTorch sees {cards} CUDA devices"),
            Err(error) => format!(
                "device `{wanted}` needs LibTorch's CUDA part: {error}; install the whole PyTorch and build with LIBTORCH_USE_PYTORCH=1, or use `--device cpu`"
            ),
        }),
    }
}

#[expect(
    unsafe_code,
    reason = "loading a library runs its initialisers; it is LibTorch's own, of the same folder"
)]
fn open_cuda() -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: the library is part of the LibTorch that the process is linked to; its
        // initialisers register kernels, before any tensor exists and while there is one thread.
        let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
        // Never closed: the kernels that it registered stay in use.
        library.map(std::mem::forget).map_err(|error| error.to_string())
    }
    #[cfg(not(target_os = "linux"))]
    Err("CUDA is supported on Linux".to_owned())
}
