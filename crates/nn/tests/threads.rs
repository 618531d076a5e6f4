//! The global number of threads; a process of its own, since it is set once.

use gradome_nn::set_threads;

#[test]
fn the_number_of_threads_is_set_once() {
    assert!(set_threads(0).unwrap_err().to_string().contains("0 threads"));
    set_threads(3).unwrap();
    set_threads(3).unwrap();
    assert_eq!(rayon::current_num_threads(), 3);
    let error = set_threads(4).unwrap_err().to_string();
    assert!(error.contains("4 asked for") && error.contains("already uses 3"), "{error}");
}
