//! A web server that takes requests and answers them only when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Requests are held until [`SlowHook::answer`].
pub struct SlowHook {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// `webhook-id` of each request.
    ids: Vec<String>,
    held: Vec<TcpStream>,
    is_open: bool,
}

impl SlowHook {
    pub fn start() -> SlowHook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        SlowHook { address, state }
    }

    /// The keys of the requests that have come.
    pub fn ids(&self) -> Vec<String> {
        self.state.lock().unwrap().ids.clone()
    }

    /// Answers what is held and from now on everything at once.
    pub fn answer(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_open = true;
        state.held.drain(..).for_each(say_ok);
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.trim().clone_into(&mut id),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let _ = reader.take(length).read_to_end(&mut Vec::new());
    let mut state = state.lock().unwrap();
    state.ids.push(id);
    if state.is_open { say_ok(stream) } else { state.held.push(stream) }
}

fn say_ok(mut stream: TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
