//! What is measured, by a process in the cgroup that it is measured for: a command a line, a figure each.

use std::{
    env,
    fs::File,
    io::{BufRead as _, Read as _, Write as _, stdin, stdout},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    thread::{LinkNameSpaceType, move_into_link_name_space},
    time::{ClockId, clock_gettime},
};

/// The variable that names the network on the other side.
pub(crate) const FAR: &str = "TOLLGATE_BENCH_FAR";

/// Reads commands until there are no more.
pub(crate) fn work() -> Result<()> {
    for line in stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let (Some(kind), Some(to), Some(amount)) = (words.next(), words.next(), words.next())
        else {
            bail!("{line}: not three words")
        };
        let (to, amount): (SocketAddr, u64) = (to.parse()?, amount.parse()?);
        let figure = match kind {
            "connect" => connect(to, amount),
            "udp" => datagrams(to, Duration::from_millis(amount)),
            "segments" => pieces(to, 1_400, Duration::from_millis(amount)),
            "stream" => pieces(to, 32 << 10, Duration::from_millis(amount)),
            other => bail!("{other} is no measure"),
        };
        writeln!(stdout(), "{}", figure.with_context(|| line.clone())?)?;
    }
    Ok(())
}

/// Microseconds from nothing to a connection, the median of many.
#[expect(clippy::cast_precision_loss, reason = "microseconds of one connect")]
fn connect(to: SocketAddr, times: u64) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let stream = TcpStream::connect(to)?;
        all.push(began.elapsed().as_nanos());
        // The other side closes first and keeps what remains of the connection; wait until it has.
        drop_quietly(stream)?;
    }
    all.sort_unstable();
    Ok(all.get(all.len() / 2).copied().unwrap_or_default() as f64 / 1000.0)
}

fn drop_quietly(mut stream: TcpStream) -> Result<()> {
    // Nothing comes but the end.
    Ok(stream.read(&mut [0]).map(drop)?)
}

/// Datagrams of 64 bytes that are sent and read in a second.
fn datagrams(at: SocketAddr, during: Duration) -> Result<f64> {
    let reads = UdpSocket::bind(at)?;
    let sends = UdpSocket::bind(SocketAddr::new(at.ip(), 0))?;
    sends.connect(at)?;
    let mut buffer = [0; 64];
    per_second(during, || {
        sends.send(&[0; 64])?;
        Ok(reads.recv(&mut buffer).map(drop)?)
    })
}

/// How often `size` bytes are sent and read in a second over a connection to `at`, whose network is another one if its
/// name is in the environment; both ends are here, so that nobody has to be woken.
fn pieces(at: SocketAddr, size: usize, during: Duration) -> Result<f64> {
    let listener = match env::var_os(FAR).filter(|_| !at.ip().is_loopback()) {
        None => TcpListener::bind(at)?,
        Some(far) => thread::spawn(move || -> Result<TcpListener> {
            let far = File::open(far)?;
            move_into_link_name_space(far.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpListener::bind(at)?)
        })
        .join()
        .unwrap_or_else(|_| bail!("the thread on the other side ended"))?,
    };
    let mut sends = TcpStream::connect(at)?;
    sends.set_nodelay(true)?;
    let (mut reads, _) = listener.accept()?;
    let (piece, mut buffer) = (vec![0; size], vec![0; size]);
    per_second(during, || {
        sends.write_all(&piece)?;
        Ok(reads.read_exact(&mut buffer)?)
    })
}

/// How often something happens in a second of the processor: what else runs on the machine does not count.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(during: Duration, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let began = used()?;
    let mut count = 0_u64;
    loop {
        for _ in 0..256 {
            once()?;
        }
        count += 256;
        let spent = used()?.saturating_sub(began);
        if spent >= during {
            return Ok(count as f64 / spent.as_secs_f64());
        }
    }
}

/// Time of the processor that this thread used, with what the kernel did for it.
fn used() -> Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}
