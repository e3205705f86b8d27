//! New clients.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::connection::{Connection, State};
use super::worker::Workers;
use crate::server::{Server, now_ms};
use crate::session::{Card, Names, Session};

/// Connections that the system keeps until they are accepted; during a hand-over they wait there.
const BACKLOG: i32 = 4096;

/// Listens on an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listening TCP sockets that the service manager has opened for this process (socket activation), in its order. While no server
/// runs, it is the manager's copies that keep connections waiting.
pub(crate) fn activated() -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for (_, descriptor) in heirloom::service_manager::descriptors()? {
        let socket = Socket::from(descriptor);
        // What is no socket says so here.
        let listens = socket.is_listener().unwrap_or(false);
        if listens && matches!(socket.domain(), Ok(Domain::IPV4 | Domain::IPV6)) {
            socket.set_nonblocking(true)?;
            listeners.push(socket.into());
        }
    }
    Ok(listeners)
}

/// Accepts clients for as long as the process lives.
pub(crate) async fn accept_all(server: Arc<Server>, workers: Arc<Workers>, listener: Arc<TcpListener>) {
    let listener = match listener.try_clone().and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("heirloom serve: cannot accept clients: {error}"),
    };
    loop {
        let accepted = std::future::poll_fn(|context| {
            // What is accepted is in the table of clients before the gate opens, or it still waits in the listener.
            let _gate = server.gate();
            if server.is_resting() && server.sleep(context.waker()) {
                return std::task::Poll::Pending;
            }
            listener.poll_accept(context).map_ok(|(stream, _)| admit(&server, &workers, stream))
        });
        match accepted.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("heirloom serve: a client was not admitted: {error}"),
            // Out of descriptors or memory: some will come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn admit(server: &Arc<Server>, workers: &Workers, stream: tokio::net::TcpStream) -> io::Result<()> {
    let stream = stream.into_std()?;
    server.counters.connections.fetch_add(1, Relaxed);
    if server.clients().len() >= server.settings.max_clients.load(Relaxed) {
        server.counters.rejected.fetch_add(1, Relaxed);
        // The socket's buffer is empty, so this goes out without a wait.
        let _is_gone = (&stream).write_all(b"-ERR max number of clients reached\r\n");
        return Ok(());
    }
    stream.set_nodelay(true)?;
    if server.config.keepalive_s > 0 {
        let time = Duration::from_secs(server.config.keepalive_s);
        let keepalive = TcpKeepalive::new()
            .with_time(time)
            .with_interval((time / 3).max(Duration::from_secs(1)))
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    let now = now_ms();
    let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
    let card = Arc::new(Card::new(server.next_client(), peer, local, now, now, Names::default()));
    let session = Session::new(card, server.settings.password().is_some());
    start(server, workers, stream, State::new(session))
}

/// Gives a client to a thread.
pub(crate) fn start(
    server: &Arc<Server>,
    workers: &Workers,
    stream: TcpStream,
    state: State,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let worker = workers.least().clone();
    let connection = {
        let _reactor = worker.handle.enter();
        Arc::new(Connection::new(tokio::net::TcpStream::from_std(stream)?, state))
    };
    let id = connection.card.id;
    server.clients().insert(id, connection.clone());
    worker.nr_clients.fetch_add(1, Relaxed);
    let (server, nr_clients) = (server.clone(), worker.nr_clients.clone());
    worker.handle.spawn(async move {
        std::future::poll_fn(|context| connection.poll(&server, context)).await;
        connection.note_end(&server);
        server.clients().remove(&id);
        nr_clients.fetch_sub(1, Relaxed);
    });
    Ok(())
}
