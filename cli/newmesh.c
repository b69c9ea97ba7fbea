#include "cli/newmesh.h"

#include <errno.h>
#include <sys/random.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "base/text.h"
#include "cli/output.h"

static void fill_random(void *ctx, void *out, size_t n)
{
	/* Up to 256 bytes come whole once the pool is ready, which the call waits for. */
	while (getrandom(out, n, 0) != (ssize_t)n)
		BUG_ON(errno != EINTR || n > 256);
}

enum err newmesh_passphrase(const char *path, struct secret *out, struct fault *f)
{
	struct secret pass, line;
	char safe[160], word[200];
	enum err e = passphrase_generate(fill_random, NULL, &pass);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for a passphrase");
	e = secret_new(&line, pass.n + 1);
	if (e == ERR_OK) {
		memcpy(line.p, pass.p, pass.n);
		line.p[pass.n] = '\n';
		e = file_create_secret(path, secret_bytes(&line), f);
		secret_free(&line);
	}
	if (e == ERR_EXISTS) {
		fault_set(f, e, EXIT_USAGE, "%s exists already, and is not overwritten",
			  text_safe(bytes_str(path), safe, sizeof(safe)));
		fault_means(f, "If it is the passphrase of your mesh, this machine joins with it.");
		fault_next(f, "ironmesh keys generate --name NAME --passphrase-file %s",
			   word_for_shell(path, word, sizeof(word)));
	}
	if (e == ERR_OK)
		*out = pass;
	else
		secret_free(&pass);
	return e;
}
