// SPDX-License-Identifier: Apache-2.0
#![expect(unsafe_code, reason = "the image of another program, assembled into read-only data")]
//! The program that is pid 1 of a shared PID namespace: a complete ELF file of some 300 bytes,
//! assembled into this binary's read-only data and executed from a memfd. It names itself
//! `crisp-init`, blocks every signal and reaps whatever is orphaned to it, for ever. Its cost is
//! one page of code and one of stack; a copy of the shim would cost fifty times that.

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.crisp_init, \"a\"",
    ".balign 8",
    ".globl crisp_init_begin",
    ".hidden crisp_init_begin",
    "crisp_init_begin:",
    // ELF header: 64 bit, little endian, executable for x86-64 at 0x400000.
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".short 2, 62",
    ".long 1",
    ".quad 0x400000 + 20f - crisp_init_begin",
    ".quad 64, 0",
    ".long 0",
    ".short 64, 56, 2, 0, 0, 0",
    // The whole file, readable and executable.
    ".long 1, 5",
    ".quad 0, 0x400000, 0x400000",
    ".quad crisp_init_end - crisp_init_begin, crisp_init_end - crisp_init_begin, 0x1000",
    // A stack that is not executable.
    ".long 0x6474e551, 6",
    ".quad 0, 0, 0, 0, 0, 16",
    "20:",
    // prctl(PR_SET_NAME, name)
    "mov $157, %eax",
    "mov $15, %edi",
    "lea 24f(%rip), %rsi",
    "syscall",
    // rt_sigprocmask(SIG_BLOCK, all, NULL, 8)
    "mov $14, %eax",
    "xor %edi, %edi",
    "lea 23f(%rip), %rsi",
    "xor %edx, %edx",
    "mov $8, %r10d",
    "syscall",
    "21:",
    // rt_sigtimedwait(all, NULL, NULL, 8)
    "mov $128, %eax",
    "lea 23f(%rip), %rdi",
    "xor %esi, %esi",
    "xor %edx, %edx",
    "mov $8, %r10d",
    "syscall",
    "22:",
    // wait4(-1, NULL, WNOHANG, NULL), until nothing is left to reap
    "mov $61, %eax",
    "or $-1, %edi",
    "xor %esi, %esi",
    "mov $1, %edx",
    "xor %r10d, %r10d",
    "syscall",
    "test %eax, %eax",
    "jg 22b",
    "jmp 21b",
    ".balign 8",
    "23:",
    ".quad -1",
    "24:",
    ".asciz \"crisp-init\"",
    ".globl crisp_init_end",
    ".hidden crisp_init_end",
    "crisp_init_end:",
    ".popsection",
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.crisp_init, \"a\"",
    ".balign 8",
    ".globl crisp_init_begin",
    ".hidden crisp_init_begin",
    "crisp_init_begin:",
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".short 2, 183",
    ".long 1",
    ".quad 0x400000 + 20f - crisp_init_begin",
    ".quad 64, 0",
    ".long 0",
    ".short 64, 56, 2, 0, 0, 0",
    ".long 1, 5",
    ".quad 0, 0x400000, 0x400000",
    ".quad crisp_init_end - crisp_init_begin, crisp_init_end - crisp_init_begin, 0x10000",
    ".long 0x6474e551, 6",
    ".quad 0, 0, 0, 0, 0, 16",
    "20:",
    "mov x8, #167",
    "mov x0, #15",
    "adr x1, 24f",
    "svc #0",
    "mov x8, #135",
    "mov x0, #0",
    "adr x1, 23f",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "21:",
    "mov x8, #137",
    "adr x0, 23f",
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #8",
    "svc #0",
    "22:",
    "mov x8, #260",
    "mov x0, #-1",
    "mov x1, #0",
    "mov x2, #1",
    "mov x3, #0",
    "svc #0",
    "cmp x0, #0",
    "b.gt 22b",
    "b 21b",
    ".balign 8",
    "23:",
    ".quad -1",
    "24:",
    ".asciz \"crisp-init\"",
    ".globl crisp_init_end",
    ".hidden crisp_init_end",
    "crisp_init_end:",
    ".popsection",
);

unsafe extern "C" {
    static crisp_init_begin: u8;
    static crisp_init_end: u8;
}

/// The bytes of the executable file.
pub(crate) fn init_image() -> &'static [u8] {
    let (begin, end) = (&raw const crisp_init_begin, &raw const crisp_init_end);
    // SAFETY: both symbols are defined by the assembly above, in this order and in one read-only
    // section, so the bytes between them are initialised, never written and live for ever.
    unsafe { std::slice::from_raw_parts(begin, end.offset_from_unsigned(begin)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_a_small_elf_file() {
        let image = init_image();
        assert_eq!(&image[..4], b"\x7fELF");
        assert!(image.ends_with(b"crisp-init\0"));
        assert!(image.len() < 512, "{} bytes", image.len());
    }
}
