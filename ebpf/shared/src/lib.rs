//! Types that the kernel programs and their loader share.
