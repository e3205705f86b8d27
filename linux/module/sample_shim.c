// SPDX-License-Identifier: GPL-2.0
/*
 * What the sample module needs of Linux that only C has: a debugfs file to
 * write commands to, the clock, kmalloc() to compare with, KHO's page for each
 * object to compare with.
 */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kexec_handover.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "heirloom.h"

int sample_command(const char *text, size_t len);

u64 sample_now(void);
void *sample_kmalloc(size_t size);
void sample_kfree(void *object);
void *sample_page(size_t size);
void sample_page_free(void *page);
void *sample_pad(size_t bytes);
void sample_pad_free(void *pad);
void sample_lock(void);
void sample_unlock(void);
void sample_breathe(void);
int sample_register(void);
void sample_unregister(void);

static DEFINE_MUTEX(lock);
static struct dentry *folder;

u64 sample_now(void)
{
	return ktime_get_ns();
}

void *sample_kmalloc(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

void sample_kfree(void *object)
{
	kfree(object);
}

void *sample_page(size_t size)
{
	void *page = kho_alloc_preserve(size);

	return IS_ERR(page) ? NULL : page;
}

void sample_page_free(void *page)
{
	kho_unpreserve_free(page);
}

void *sample_pad(size_t bytes)
{
	return kvzalloc(bytes, GFP_KERNEL);
}

void sample_pad_free(void *pad)
{
	kvfree(pad);
}

void sample_lock(void)
{
	mutex_lock(&lock);
}

void sample_unlock(void)
{
	mutex_unlock(&lock);
}

void sample_breathe(void)
{
	cond_resched();
}

static ssize_t command_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	char text[64];
	int error;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, len))
		return -EFAULT;
	error = sample_command(text, len);
	return error ? error : (ssize_t)len;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.write = command_write,
	.llseek = noop_llseek,
};

int sample_register(void)
{
	folder = debugfs_create_dir("heirloom_sample", NULL);
	debugfs_create_file("command", 0200, folder, NULL, &command_fops);
	return 0;
}

void sample_unregister(void)
{
	debugfs_remove(folder);
}
