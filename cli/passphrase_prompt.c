#include "cli/passphrase_prompt.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"
#include "base/prompt.h"

enum err passphrase_configured(const struct cli *c, struct secret *out, struct fault *f)
{
	static const char *const credentials[] = { "ironmesh-key", "ironmesh" };
	const char *file = options_text(&c->opts, "passphrase-file");
	const struct optval *fd = options_get(&c->opts, "passphrase-fd");
	char path[HOME_MAX];
	enum err e;

	if (file)
		return passphrase_from_file(file, out, f);
	if (fd->given)
		return passphrase_from_fd((int)fd->number, out, f);
	for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
		e = passphrase_from_credential(credentials[i], out, f);
		if (e != ERR_NOTFOUND)
			return e;
	}
	if (path_join(path, sizeof(path), c->home, "passphrase") == ERR_OK && access(path, F_OK) == 0)
		return passphrase_from_file(path, out, f);
	return passphrase_from_env("IRONMESH_PASSPHRASE", out, f);
}

enum err passphrase_prompt(const struct cli *c, const char *question, bool fresh,
			   struct secret *out, struct fault *f)
{
	int signal_number = 0;
	enum err e = prompt_passphrase(question, fresh, out, &signal_number, f);

	if (signal_number)
		exit(128 + signal_number);
	if (e == ERR_NOTFOUND)
		fault_means(f, "Give it with --passphrase-file FILE, --passphrase-fd N, a systemd "
			       "credential named ironmesh-key, or as a last resort IRONMESH_PASSPHRASE.");
	return e;
}
