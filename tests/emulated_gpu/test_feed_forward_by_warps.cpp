// The same on a GPU without products of warpgroups, where all widths take the kernels of warps.
#include "test_feed_forward.cpp"
