/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Heirloom: slab objects that live through a kexec.
 *
 * An object allocated here is where it was, with its contents, in the next
 * kernel, as a slab object: heirloom_free() takes it like one of its own. What
 * the next kernel starts from is a name: publish an object under one, and let
 * it lead to all others. Objects refer to each other by handle, since the
 * kernel's direct map may lie elsewhere next time.
 */
#ifndef HEIRLOOM_H
#define HEIRLOOM_H

#include <linux/types.h>
#include <linux/gfp_types.h>

/* The largest object, in bytes: a block without its header. */
#define HEIRLOOM_MAX_BYTES	(240 * 1024)

/* The longest name, in bytes, without its NUL. */
#define HEIRLOOM_MAX_NAME	63

/**
 * heirloom_alloc() - allocate an object that the next kernel inherits
 * @size: bytes, 1 to HEIRLOOM_MAX_BYTES
 * @gfp: GFP_KERNEL where the caller may sleep, GFP_ATOMIC or GFP_NOWAIT where
 *	it may not; other flags have no effect
 *
 * The object is aligned to 16 bytes, and one of more than 8192 bytes to a page.
 * It lies in a block that KHO preserves, from now until heirloom_free(), in
 * this kernel and in each one after. All its bytes are zero.
 *
 * A caller that may not sleep is served from what the pool has; where that is
 * used up the request fails, and memory is fetched for those to come.
 *
 * Context: any but NMI. Sleeps only if @gfp allows it.
 * Return: the object, or NULL: no memory, a size out of range, or the pool is
 * frozen because a kexec is under way.
 */
void *heirloom_alloc(size_t size, gfp_t gfp);

/**
 * heirloom_zalloc() - allocate a zeroed object
 * @size: as for heirloom_alloc()
 * @gfp: as for heirloom_alloc()
 *
 * The same as heirloom_alloc(): free slots are zero always, so zeroes cost
 * nothing. The name is for those who read the caller.
 *
 * Context: as heirloom_alloc().
 * Return: as heirloom_alloc().
 */
void *heirloom_zalloc(size_t size, gfp_t gfp);

/**
 * heirloom_free() - give an object back
 * @object: what heirloom_alloc() or heirloom_retrieve() returned, in this
 *	kernel or, found through a handle, in an earlier one; NULL is ignored
 *
 * The object's bytes are zeroed before the slot can be handed out again. A
 * pointer that is no object of the pool, or one that is free already, is
 * reported in the log and has no effect. While the pool is frozen nothing can
 * be freed: the object is the next kernel's.
 *
 * Context: any but NMI. Never sleeps.
 */
void heirloom_free(void *object);

/**
 * heirloom_size() - tell how many bytes an object may use
 * @object: an object of the pool
 *
 * Context: any but NMI.
 * Return: bytes of its slot, at least what was asked for; 0 if @object is no
 * object of the pool.
 */
size_t heirloom_size(const void *object);

/**
 * heirloom_handle() - turn an object's address into what may be stored
 * @object: an object of the pool, or NULL
 *
 * Addresses differ from kernel to kernel, handles do not. Store handles in
 * objects, never pointers.
 *
 * Context: any.
 * Return: the handle; 0 for NULL.
 */
u64 heirloom_handle(const void *object);

/**
 * heirloom_object() - turn a handle into the object's address
 * @handle: what heirloom_handle() returned, in this or an earlier kernel
 *
 * Asks whether an object starts there, so that a handle that was overwritten
 * is found out and not followed.
 *
 * Context: any but NMI.
 * Return: the object; NULL for handle 0 and where no object starts.
 */
void *heirloom_object(u64 handle);

/**
 * heirloom_publish() - give an object a name that the next kernel finds it by
 * @name: 1 to HEIRLOOM_MAX_NAME bytes without control characters
 * @object: an object of the pool
 *
 * The name is the object's until heirloom_unpublish(), in this kernel and the
 * ones after: an inherited name is not to be published again.
 *
 * Context: may sleep.
 * Return: 0; -EEXIST if the name is taken, -EINVAL for a bad name or an
 * object that is not the pool's, -ENOSPC if all names are in use, -EBUSY if
 * the pool is frozen, -ENODEV if there is no pool.
 */
int heirloom_publish(const char *name, void *object);

/**
 * heirloom_unpublish() - take a name back
 * @name: the name
 *
 * The object stays as it is.
 *
 * Context: may sleep.
 * Return: 0; -ENOENT if there is no such name, -ENOMEM, -EBUSY if the pool is
 * frozen, -ENODEV if there is no pool.
 */
int heirloom_unpublish(const char *name);

/**
 * heirloom_retrieve() - find an object by its name
 * @name: the name
 * @size: where to store heirloom_size() of the object; may be NULL
 *
 * Finds what this kernel published and what it inherited alike.
 *
 * Context: may sleep.
 * Return: the object, or NULL if there is no such name.
 */
void *heirloom_retrieve(const char *name, size_t *size);

/**
 * heirloom_take() - find an object by its name, and take the name back
 * @name: the name
 * @size: where to store heirloom_size() of the object; may be NULL
 *
 * As heirloom_retrieve() and heirloom_unpublish() in one step: of two who take
 * one name at once, one gets the object.
 *
 * Context: may sleep.
 * Return: the object, or NULL if there is no such name, no memory, or the pool
 * is frozen; the name is then as it was.
 */
void *heirloom_take(const char *name, size_t *size);

#endif /* HEIRLOOM_H */
