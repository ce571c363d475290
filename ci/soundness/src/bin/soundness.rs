//! The soundness test as a program. Its argument is the path of the library of thread-locals.

fn main() {
    let library = std::env::args_os().nth(1).expect("the path of the library of thread-locals");
    println!("{}", gort_soundness::run(library.as_ref()));
}
