// SPDX-License-Identifier: GPL-2.0
/*
 * What Linux offers to C alone, for the Rust half of the module: inline
 * functions and macros (interrupts off, is_kfence_address()), static
 * initialisers (mutex, notifier, work), debugfs files, and the exports of
 * heirloom.h. No decision is made here but the refusal of unsafe ground.
 */
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kexec_handover.h>
#include <linux/kfence.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/reboot.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "heirloom.h"
#include "shim.h"

#define BLOCK_ORDER	6
#define BLOCK_BYTES	(PAGE_SIZE << BLOCK_ORDER)
#define NODE		"heirloom-slab"

/* KHO marks the first page of what it preserved, in page->private, until it is restored. */
#define KHO_MARK	0x4b484f50UL

static unsigned long long scratch[16];
static int nr_scratch;
module_param_array(scratch, ullong, &nr_scratch, 0444);
MODULE_PARM_DESC(scratch, "KHO's scratch areas, as address,bytes,address,bytes (debugfs of KHO tells them)");

/* ---- memory ---------------------------------------------------------- */

void *hl_base(void)
{
	return __va(0);
}

u64 hl_ram_bytes(void)
{
	return (u64)totalram_pages() << PAGE_SHIFT;
}

u64 hl_random(void)
{
	return get_random_u64();
}

bool hl_may_sleep(unsigned int gfp)
{
	return gfpflags_allow_blocking((__force gfp_t)gfp);
}

/* True for an address in the direct map that may be read: RAM, and none of KFENCE's pages. */
bool hl_is_plain(const void *address)
{
	return virt_addr_valid(address) && !is_kfence_address(address);
}

bool hl_in_scratch(u64 phys, u64 bytes)
{
	int i;

	for (i = 0; i + 1 < nr_scratch; i += 2)
		if (phys < scratch[i] + scratch[i + 1] && scratch[i] < phys + bytes)
			return true;
	return false;
}

static bool is_safe_ground(const void *start, u64 bytes)
{
	u64 phys = virt_to_phys((void *)start);

	if (hl_in_scratch(phys, bytes)) {
		pr_err_once("heirloom: refused: memory at %#llx lies in scratch\n", phys);
		return false;
	}
	if (is_kfence_address(start) || is_kfence_address(start + bytes - 1)) {
		pr_err_once("heirloom: refused: memory at %#llx is KFENCE's\n", phys);
		return false;
	}
	return true;
}

/* Exactly as many pages as are needed: KHO's own helper rounds up to a power of two. */
void *hl_pages_take(u64 bytes)
{
	void *pages = alloc_pages_exact(bytes, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);

	if (!pages)
		return NULL;
	if (!is_safe_ground(pages, bytes) ||
	    kho_preserve_pages(virt_to_page(pages), PAGE_ALIGN(bytes) >> PAGE_SHIFT)) {
		free_pages_exact(pages, bytes);
		return NULL;
	}
	return pages;
}

void hl_pages_give(void *pages, u64 bytes)
{
	kho_unpreserve_pages(virt_to_page(pages), PAGE_ALIGN(bytes) >> PAGE_SHIFT);
	free_pages_exact(pages, bytes);
}

/* The order of what KHO preserved here and nobody has restored yet; -1 where it did not. */
static int inherited_order(u64 pfn)
{
	unsigned long private;

	if (!pfn_valid(pfn))
		return -1;
	private = page_private(pfn_to_page(pfn));
	if (private >> 32 != KHO_MARK)
		return -1;
	return (int)(private & 0xffffffff);
}

/* 0 where the range was handed over, whole and not restored yet; otherwise why not. */
int hl_pages_state(u64 phys, u64 bytes)
{
	u64 pfn, end;

	if (!IS_ALIGNED(phys, PAGE_SIZE) || !bytes || phys + bytes < phys)
		return -EINVAL;
	if (hl_in_scratch(phys, bytes) || !hl_is_plain(__va(phys)))
		return -EFAULT;
	end = (phys + PAGE_ALIGN(bytes)) >> PAGE_SHIFT;
	for (pfn = phys >> PAGE_SHIFT; pfn < end;) {
		int order = inherited_order(pfn);

		/* The cut that kho_restore_pages() will make of a range like this. */
		if (order != min_t(int, __ffs64(pfn), ilog2(end - pfn)))
			return -ENOENT;
		pfn += 1UL << order;
	}
	return pfn == end ? 0 : -ENOENT;
}

int hl_pages_claim(u64 phys, u64 bytes)
{
	unsigned long nr = PAGE_ALIGN(bytes) >> PAGE_SHIFT;
	struct page *page = kho_restore_pages(phys, nr);

	if (!page)
		return -ENOENT;
	return kho_preserve_pages(page, nr);
}

void *hl_block_take(void)
{
	void *block = kho_alloc_preserve(BLOCK_BYTES);

	if (IS_ERR_OR_NULL(block))
		return NULL;
	if (!is_safe_ground(block, BLOCK_BYTES)) {
		kho_unpreserve_free(block);
		return NULL;
	}
	return block;
}

void hl_block_give(void *block)
{
	kho_unpreserve_free(block);
}

int hl_block_state(u64 phys)
{
	if (!IS_ALIGNED(phys, BLOCK_BYTES))
		return -EINVAL;
	if (hl_in_scratch(phys, BLOCK_BYTES) || !hl_is_plain(__va(phys)))
		return -EFAULT;
	return inherited_order(phys >> PAGE_SHIFT) == BLOCK_ORDER ? 0 : -ENOENT;
}

int hl_block_claim(u64 phys)
{
	struct folio *folio = kho_restore_folio(phys);

	if (!folio)
		return -ENOENT;
	return kho_preserve_folio(folio);
}

/* ---- the handover ---------------------------------------------------- */

bool hl_is_kho(void)
{
	return kho_is_enabled();
}

int hl_subtree_add(void *blob, u64 bytes)
{
	return kho_add_subtree(NODE, blob, bytes);
}

void hl_subtree_remove(void *blob)
{
	kho_remove_subtree(blob);
}

int hl_subtree_find(u64 *phys, u64 *bytes)
{
	phys_addr_t at;
	size_t size;
	int error = kho_retrieve_subtree(NODE, &at, &size);

	if (error)
		return error;
	*phys = at;
	*bytes = size;
	return 0;
}

static int on_reboot(struct notifier_block *block, unsigned long event, void *command)
{
	if (event == SYS_RESTART)
		hl_on_kexec();
	return NOTIFY_DONE;
}

/* Last of all: others may free and allocate in their notifiers. */
static struct notifier_block reboot_block = { .notifier_call = on_reboot, .priority = INT_MIN };

/* ---- who runs, and when ---------------------------------------------- */

static DEFINE_MUTEX(names_lock);

unsigned int hl_nr_cpus(void)
{
	return nr_cpu_ids;
}

unsigned long hl_enter(unsigned int *cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	*cpu = raw_smp_processor_id();
	return flags;
}

void hl_leave(unsigned long flags)
{
	local_irq_restore(flags);
}

void hl_lock(void)
{
	mutex_lock(&names_lock);
}

void hl_unlock(void)
{
	mutex_unlock(&names_lock);
}

/* Returns when every section between hl_enter() and hl_leave() that was open has been left. */
void hl_wait_for_all(void)
{
	synchronize_rcu();
}

static void on_interrupt(void *cache)
{
	hl_on_interrupt((size_t)cache);
}

/* Returns when every CPU that is online has run hl_on_interrupt(). */
void hl_interrupt_all(size_t cache)
{
	on_each_cpu(on_interrupt, (void *)cache, 1);
}

bool hl_pin(void)
{
	return try_module_get(THIS_MODULE);
}

void hl_unpin(void)
{
	module_put(THIS_MODULE);
}

static void on_work(struct work_struct *work)
{
	hl_on_work();
}

static DECLARE_DELAYED_WORK(later, on_work);

void hl_work_later(void)
{
	schedule_delayed_work(&later, HZ / 4);
}

void *hl_scratchpad(u64 bytes)
{
	return kvmalloc(bytes, GFP_KERNEL);
}

void hl_scratchpad_free(void *pad)
{
	kvfree(pad);
}

/* ---- debugfs --------------------------------------------------------- */

static struct dentry *folder;

void hl_write(struct seq_file *to, const char *text, size_t len)
{
	seq_write(to, text, len);
}

#define SHOWN(name)							\
	static int name##_show(struct seq_file *to, void *unused)	\
	{								\
		hl_show_##name(to);					\
		return 0;						\
	}								\
	DEFINE_SHOW_ATTRIBUTE(name)

SHOWN(stats);
SHOWN(check);
SHOWN(names);
SHOWN(blocks);

static ssize_t control_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	char text[64];
	int error;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, len))
		return -EFAULT;
	error = hl_on_command(text, len);
	return error ? error : (ssize_t)len;
}

static const struct file_operations control_fops = {
	.owner = THIS_MODULE,
	.write = control_write,
	.llseek = noop_llseek,
};

/*
 * The pool's bytes at their physical addresses, for who makes a dump by the list
 * of blocks beside it. What is not the pool's is not shown.
 */
static ssize_t memory_read(struct file *file, char __user *to, size_t len, loff_t *at)
{
	u64 phys = *at;

	len = min_t(u64, len, PAGE_SIZE - offset_in_page(phys));
	if (!hl_is_plain(__va(phys)) || !hl_is_ours(phys))
		return -EFAULT;
	if (copy_to_user(to, __va(phys), len))
		return -EFAULT;
	*at += len;
	return len;
}

static loff_t memory_llseek(struct file *file, loff_t offset, int whence)
{
	return no_seek_end_llseek(file, offset, whence);
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.read = memory_read,
	.llseek = memory_llseek,
};

int hl_register(void)
{
	int error = register_reboot_notifier(&reboot_block);

	if (error)
		return error;
	folder = debugfs_create_dir("heirloom", NULL);
	debugfs_create_file("stats", 0400, folder, NULL, &stats_fops);
	debugfs_create_file("check", 0400, folder, NULL, &check_fops);
	debugfs_create_file("names", 0400, folder, NULL, &names_fops);
	debugfs_create_file("blocks", 0400, folder, NULL, &blocks_fops);
	debugfs_create_file("control", 0200, folder, NULL, &control_fops);
	debugfs_create_file_unsafe("memory", 0400, folder, NULL, &memory_fops);
	return 0;
}

void hl_unregister(void)
{
	debugfs_remove(folder);
	unregister_reboot_notifier(&reboot_block);
	cancel_delayed_work_sync(&later);
}

EXPORT_SYMBOL_GPL(heirloom_alloc);
EXPORT_SYMBOL_GPL(heirloom_zalloc);
EXPORT_SYMBOL_GPL(heirloom_free);
EXPORT_SYMBOL_GPL(heirloom_size);
EXPORT_SYMBOL_GPL(heirloom_handle);
EXPORT_SYMBOL_GPL(heirloom_object);
EXPORT_SYMBOL_GPL(heirloom_publish);
EXPORT_SYMBOL_GPL(heirloom_unpublish);
EXPORT_SYMBOL_GPL(heirloom_retrieve);
EXPORT_SYMBOL_GPL(heirloom_take);
