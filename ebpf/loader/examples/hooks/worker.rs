//! What is measured, by a process in the cgroup that it is measured for: a command a line, a figure each.

use std::{
    io::{BufRead as _, Read as _, Write as _, stdin, stdout},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, clock_gettime};

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
            "tcp" => round_trips(to, Duration::from_millis(amount)),
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

/// Datagrams of 64 bytes that a connected socket sends in a second. Who receives them reads none: both pay the same.
fn datagrams(to: SocketAddr, during: Duration) -> Result<f64> {
    let socket = UdpSocket::bind(if to.ip().is_loopback() { "127.0.0.1:0" } else { "0.0.0.0:0" })?;
    socket.connect(to)?;
    per_second(during, || Ok(socket.send(&[0; 64]).map(drop)?))
}

/// Bytes that go there and come back in a second, one at a time; both ends are here, so that nobody has to be woken.
fn round_trips(at: SocketAddr, during: Duration) -> Result<f64> {
    let listener = TcpListener::bind(at)?;
    let mut one = TcpStream::connect(at)?;
    let (mut other, _) = listener.accept()?;
    for stream in [&one, &other] {
        stream.set_nodelay(true)?;
    }
    per_second(during, || {
        let mut byte = [0];
        one.write_all(&byte)?;
        other.read_exact(&mut byte)?;
        other.write_all(&byte)?;
        Ok(one.read_exact(&mut byte)?)
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
