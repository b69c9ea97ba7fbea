/*
 * newmesh.h -- the passphrase of a new mesh.
 */
#ifndef CLI_NEWMESH_H
#define CLI_NEWMESH_H

#include "base/secret.h"

/* A fresh passphrase, written to `path` (0600, never over another file) before anything depends on it. ERR_EXISTS. */
enum err newmesh_passphrase(const char *path, struct secret *out, struct fault *f) MUST_CHECK;

#endif
