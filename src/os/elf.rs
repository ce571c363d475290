//! What the dynamic linker has loaded.

use std::ops::Range;

/// The executable segment of the program or library that `address` belongs to, from where to where; empty if there is none.
#[cfg(not(miri))]
pub(crate) fn code_around(address: usize) -> Range<usize> {
    struct Search {
        address: usize,
        found: Range<usize>,
    }

    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the linker passes a structure that is valid during the call, and what we gave it.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        for at in 0..usize::from(info.dlpi_phnum) {
            // SAFETY: so many program headers are there.
            let header = unsafe { &*info.dlpi_phdr.add(at) };
            let from = (info.dlpi_addr + header.p_vaddr) as usize;
            let range = from..from + header.p_memsz as usize;
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 && range.contains(&search.address) {
                search.found = range;
                return 1;
            }
        }
        0
    }

    let mut search = Search { address, found: 0..0 };
    // SAFETY: `look` has the signature that the linker calls, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

#[cfg(miri)]
pub(crate) fn code_around(_: usize) -> Range<usize> {
    0..0
}

/// [`code_around`] `address`, if it is other code than that around `from`; else empty.
pub(crate) fn code_apart(address: usize, from: usize) -> Range<usize> {
    let code = code_around(address);
    if code.contains(&from) { 0..0 } else { code }
}

/// An address in the dynamic linker's code; 0 if the program is linked statically.
pub(crate) fn linker() -> usize {
    // SAFETY: reads the auxiliary vector.
    let base = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
    if base == 0 || cfg!(miri) {
        return 0;
    }
    // `AT_BASE` is where its file's headers are; the entry point, which they name, is code.
    // SAFETY: the kernel has mapped an ELF header there, and it stays.
    base + unsafe { (*(base as *const libc::Elf64_Ehdr)).e_entry } as usize
}

#[cfg(all(test, not(miri)))]
mod tests {
    // Goal: what a program has linked into itself is not taken for a library's code. Method: two functions of this program, as where
    // it is linked statically, or has an allocator of its own by the name of `malloc`.
    #[test]
    fn code_of_the_program_itself_is_not_a_library() {
        let here = code_is_found_where_it_is as *const () as usize;
        let other = code_of_the_program_itself_is_not_a_library as *const () as usize;
        assert!(super::code_around(here).contains(&other));
        assert_eq!(super::code_apart(other, here), 0..0);
        let library = libc::getauxval as *const () as usize;
        assert_eq!(super::code_apart(library, here), super::code_around(library));
        assert!(super::code_apart(library, here).contains(&library));
        assert_eq!(super::code_apart(8, here), 0..0);
    }

    #[test]
    fn code_is_found_where_it_is() {
        let here = code_is_found_where_it_is as *const () as usize;
        assert!(super::code_around(here).contains(&here));
        let malloc = libc::malloc as *const () as usize;
        let libc = super::code_around(malloc);
        assert!(libc.contains(&malloc) && !libc.contains(&here));
        assert_eq!(super::code_around(8), 0..0);
        assert!(!super::code_around(super::linker()).contains(&malloc));
    }
}
