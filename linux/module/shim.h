/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's Rust and C halves know of each other. shim.c has what
 * Linux offers to C alone: macros, inline functions, static initialisers.
 */
#ifndef HEIRLOOM_SHIM_H
#define HEIRLOOM_SHIM_H

#include <linux/types.h>

struct seq_file;

/* Offered to Rust (linux.rs declares and explains them). */
void *hl_base(void);
unsigned long hl_enter(unsigned int *cpu);
void hl_leave(unsigned long flags);
unsigned int hl_nr_cpus(void);
u64 hl_ram_bytes(void);
u64 hl_random(void);
bool hl_may_sleep(unsigned int gfp);
bool hl_is_plain(const void *address);
bool hl_in_scratch(u64 phys, u64 bytes);
void *hl_pages_take(u64 bytes);
void hl_pages_give(void *pages, u64 bytes);
int hl_pages_state(u64 phys, u64 bytes);
int hl_pages_claim(u64 phys, u64 bytes);
void *hl_block_take(void);
void hl_block_give(void *block);
int hl_block_state(u64 phys);
int hl_block_claim(u64 phys);
bool hl_is_kho(void);
int hl_subtree_add(void *blob, u64 bytes);
void hl_subtree_remove(void *blob);
int hl_subtree_find(u64 *phys, u64 *bytes);
void hl_lock(void);
void hl_unlock(void);
void hl_wait_for_all(void);
void hl_interrupt_all(size_t cache);
bool hl_pin(void);
void hl_unpin(void);
void hl_work_later(void);
void *hl_scratchpad(u64 bytes);
void hl_scratchpad_free(void *pad);
void hl_write(struct seq_file *to, const char *text, size_t len);
int hl_register(void);
void hl_unregister(void);

/* Offered by Rust. */
void hl_on_work(void);
void hl_on_interrupt(size_t cache);
void hl_on_kexec(void);
void hl_show_stats(struct seq_file *to);
void hl_show_check(struct seq_file *to);
void hl_show_names(struct seq_file *to);
void hl_show_blocks(struct seq_file *to);
bool hl_is_ours(u64 phys);
int hl_on_command(const char *text, size_t len);

#endif /* HEIRLOOM_SHIM_H */
