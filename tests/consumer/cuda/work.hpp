// What a consumer's own library offers; no header of flr or CUDA is needed to use it.
#pragma once

/// Attention and its gradient on "cpu" or "cuda". Returns the exit code; says on stderr what went
/// wrong.
int work_on(const char* device);
