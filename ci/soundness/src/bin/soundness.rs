//! The soundness test as a program. Its argument is the path of the library of thread-locals;
//! without one no library is loaded.

fn main() {
    let library = std::env::args_os().nth(1);
    println!("{}", gort_soundness::run(library.as_deref().map(AsRef::as_ref)));
}
