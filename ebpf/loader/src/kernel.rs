//! The commands of bpf(2) that the library lacks: links of every kind that are pinned, updated and asked about, and
//! programs for hooks that it does not know.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

// The commands of `enum bpf_cmd` (linux/bpf.h).
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;

/// `BPF_LINK_TYPE_CGROUP` of `enum bpf_link_type`.
const CGROUP_LINK: u32 = 3;

/// `BPF_F_QUERY_EFFECTIVE`: with the programs of the folders above.
const EFFECTIVE: u32 = 1;

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    hook: u32,
}

/// Loads a program of a kind (`enum bpf_prog_type`) for a hook (`enum bpf_attach_type`).
pub(crate) fn load(
    name: [u8; 16],
    kind: u32,
    hook: u32,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let count = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    let (instructions, license) = (instructions.as_ptr() as u64, c"GPL".as_ptr() as u64);
    let mut attr = Load { kind, count, instructions, license, name, hook, ..Load::default() };
    let program = call(PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// Attaches a program to a cgroup until the link is closed and not pinned.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    hook: u32,
) -> io::Result<OwnedFd> {
    // `prog_fd`, `target_fd`, `attach_type`, `flags`.
    let mut attr = [number(program)?, number(cgroup)?, hook, 0];
    let link = call(LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Puts another program in the place of a link's, at once: each call meets the one or the other.
pub(crate) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // `link_fd`, `new_prog_fd`, `flags`, `old_prog_fd`.
    let mut attr = [number(link)?, number(program)?, 0, 0];
    call(LINK_UPDATE, &mut attr).map(drop)
}

/// A path with a descriptor: `pathname`, `bpf_fd`, `file_flags`.
#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Gives a link a name in a bpffs, which keeps it after its descriptor is closed.
pub(crate) fn pin(link: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: number(link)?, flags: 0 };
    call(OBJ_PIN, &mut attr).map(drop)
}

/// Opens what is pinned.
pub(crate) fn open(at: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    let found = call(OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(found) })
}

/// The beginning of `struct bpf_link_info` as it is for a cgroup.
#[repr(C, align(8))]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    cgroup: u64,
    hook: u32,
    _more: [u32; 3],
}

/// The id of the cgroup at which a link is; 0 when that is gone, or the link was detached.
pub(crate) fn cgroup_of(link: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = LinkInfo::default();
    about(link, &mut info)?;
    if info.kind != CGROUP_LINK {
        return Err(io::Error::other("it is pinned, but no link to a cgroup"));
    }
    Ok(info.cgroup)
}

/// What a map is, as the kernel says: the beginning of `struct bpf_map_info`.
#[repr(C, align(8))]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// What kind of map this is.
pub(crate) fn map(of: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    about(of, &mut info)?;
    Ok(info)
}

/// `bpf_fd`, `info_len`, `info`.
#[repr(C)]
struct About {
    fd: u32,
    length: u32,
    info: u64,
}

/// Fills `info`, one of the two structures above, as far as it goes.
fn about<T>(of: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut attr = About { fd: number(of)?, length, info: std::ptr::from_mut(info) as u64 };
    call(OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}

/// `target_fd`, `attach_type`, `query_flags`, `attach_flags`, `prog_ids`, `prog_cnt`, and behind a gap
/// `prog_attach_flags`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    hook: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
}

/// How many programs run at a hook of a cgroup's sockets, those of the folders above counted.
pub(crate) fn programs_at(cgroup: BorrowedFd<'_>, hook: u32) -> io::Result<u32> {
    let target = number(cgroup)?;
    let mut attr = Query { target, hook, flags: EFFECTIVE, ..Query::default() };
    call(PROG_QUERY, &mut attr)?;
    Ok(attr.count)
}

fn number(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

/// One command with the part of `union bpf_attr` that it reads; the kernel takes the rest for zeros.
fn call<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are of the size that is named, and what they point to lives in the caller.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    match i32::try_from(answer) {
        Ok(answer @ 0..) => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
