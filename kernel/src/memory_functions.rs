//! The four functions that the compiler calls for copying, filling and comparing, which on a host come from libc.
//!
//! In assembly, because written in Rust they would be compiled into calls of themselves. Sixteen bytes a step: QEMU's emulation
//! executes a `rep movsb` byte by byte.
#![expect(unsafe_code, reason = "symbols that the compiler relies on")]

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.memory_functions, "ax", @progbits
    .global memcpy
    .global memmove
    .global memset
    .global memcmp
    .global bcmp

    # rdi to, rsi from, rdx bytes; returns rdi. Overlapping from below: from the end downwards.
memmove:
    mov rax, rdi
    sub rax, rsi
    cmp rax, rdx
    jb 5f
memcpy:
    mov rax, rdi
    cmp rdx, 64
    jb 2f
1:  movups xmm0, [rsi]
    movups xmm1, [rsi + 16]
    movups xmm2, [rsi + 32]
    movups xmm3, [rsi + 48]
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
    movups [rdi + 32], xmm2
    movups [rdi + 48], xmm3
    add rsi, 64
    add rdi, 64
    sub rdx, 64
    cmp rdx, 64
    jae 1b
2:  sub rdx, 8
    jb 3f
    mov rcx, [rsi]
    mov [rdi], rcx
    add rsi, 8
    add rdi, 8
    jmp 2b
3:  add rdx, 8
    jz 4f
9:  mov cl, [rsi]
    mov [rdi], cl
    inc rsi
    inc rdi
    dec rdx
    jnz 9b
4:  ret

5:  mov rax, rdi
    add rsi, rdx
    add rdi, rdx
6:  sub rdx, 8
    jb 7f
    sub rsi, 8
    sub rdi, 8
    mov rcx, [rsi]
    mov [rdi], rcx
    jmp 6b
7:  add rdx, 8
    jz 4b
8:  dec rsi
    dec rdi
    mov cl, [rsi]
    mov [rdi], cl
    dec rdx
    jnz 8b
    ret

    # rdi to, sil byte, rdx bytes; returns rdi.
memset:
    mov rax, rdi
    movzx esi, sil
    movabs rcx, 0x0101010101010101
    imul rcx, rsi
    cmp rdx, 64
    jb 2f
    movq xmm0, rcx
    punpcklqdq xmm0, xmm0
1:  movups [rdi], xmm0
    movups [rdi + 16], xmm0
    movups [rdi + 32], xmm0
    movups [rdi + 48], xmm0
    add rdi, 64
    sub rdx, 64
    cmp rdx, 64
    jae 1b
2:  sub rdx, 8
    jb 3f
    mov [rdi], rcx
    add rdi, 8
    jmp 2b
3:  add rdx, 8
    jz 4f
5:  mov [rdi], cl
    inc rdi
    dec rdx
    jnz 5b
4:  ret

    # rdi, rsi, rdx bytes; returns the difference of the first bytes that differ.
bcmp:
memcmp:
1:  cmp rdx, 8
    jb 2f
    mov rax, [rdi]
    cmp rax, [rsi]
    jne 2f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    jmp 1b
2:  test rdx, rdx
    jz 4f
3:  movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jnz 5f
    inc rdi
    inc rsi
    dec rdx
    jnz 3b
4:  xor eax, eax
5:  ret
    .previous
    "#
);

/// What `core` was compiled to name, though nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
