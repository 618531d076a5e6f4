//! How many threads the kernels may use.

use std::sync::Mutex;

use crate::error::{Error, Result};

/// The number of threads this process may use: what its CPU affinity and cgroup quota allow, and no more than
/// `SLURM_CPUS_PER_TASK` where a Slurm job sets it.
///
/// # Errors
/// When `SLURM_CPUS_PER_TASK` is set to something that is not a positive number.
pub fn available_threads() -> Result<usize> {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    within_slurm(allowed, std::env::var("SLURM_CPUS_PER_TASK").ok().as_deref())
}

fn within_slurm(allowed: usize, per_task: Option<&str>) -> Result<usize> {
    let Some(text) = per_task else { return Ok(allowed) };
    match text.trim().parse::<usize>() {
        Ok(limit) if limit > 0 => Ok(allowed.min(limit)),
        _ => Err(Error::config("SLURM_CPUS_PER_TASK", format!("'{text}' is not a positive number; set or unset it"))),
    }
}

/// The number that [`set_threads`] was first called with.
static CHOSEN: Mutex<Option<usize>> = Mutex::new(None);

/// Makes all kernels of this process use `threads` threads; to be called before any work.
///
/// # Errors
/// When `threads` is 0, when another number was set before, or when work has begun with a pool of another size.
pub fn set_threads(threads: usize) -> Result<()> {
    let error = |problem: String| Err(Error::config("threads", problem));
    if threads == 0 {
        return error("0 threads cannot work; give 1 or more".into());
    }
    let mut chosen = CHOSEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match *chosen {
        Some(earlier) if earlier == threads => return Ok(()),
        Some(earlier) => return error(format!("{threads} asked for, but this process already uses {earlier}")),
        None => {}
    }
    if rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().is_err() {
        let running = rayon::current_num_threads();
        if running != threads {
            return error(format!("{threads} asked for, but work has already begun on {running}; set it earlier"));
        }
    }
    *chosen = Some(threads);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_lowers_the_number_of_threads_and_never_raises_it() {
        assert_eq!(within_slurm(8, None).unwrap(), 8);
        assert_eq!(within_slurm(8, Some("3")).unwrap(), 3);
        assert_eq!(within_slurm(2, Some("16")).unwrap(), 2);
        for wrong in ["0", "two", "-1"] {
            let error = within_slurm(8, Some(wrong)).unwrap_err().to_string();
            assert!(error.contains("SLURM_CPUS_PER_TASK") && error.contains(wrong), "{error}");
        }
    }
}
