//go:build cgo && !static_build && libnftables

/*
 * libnftables keeps what it has read of the kernel's ruleset until the next command: half a
 * MiB a table, in each of dockerd's contexts, some 3.5 MiB in an engine that does nothing.
 * dockerd calls nft_run_cmd_from_buffer (libnftables(3)); the linker finds this function
 * first, which calls the library's and then has it forget what it read: it does that
 * after any command of a dry run, and an empty one takes 30 microseconds.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>

#include <nftables/libnftables.h>

typedef int (*run_fn)(struct nft_ctx *, const char *);

int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *commands)
{
	static run_fn library;
	run_fn run = __atomic_load_n(&library, __ATOMIC_RELAXED);

	if (!run) {
		run = (run_fn)dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer");
		if (!run)
			return -1;
		__atomic_store_n(&library, run, __ATOMIC_RELAXED);
	}

	int status = run(ctx, commands);

	/* After a failure there is nothing left, and its messages are still to be read. */
	if (status == 0 && !nft_ctx_get_dry_run(ctx)) {
		nft_ctx_set_dry_run(ctx, true);
		run(ctx, "");
		nft_ctx_set_dry_run(ctx, false);
	}
	return status;
}
