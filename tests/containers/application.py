"""An application that answers in two parts, at a declared port and at another."""
import socket, threading, time


def answer(listening):
    while True:
        client, _ = listening.accept()
        client.recv(1000)
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        client.recv(1)
        client.sendall(b"4\r\nlast\r\n0\r\n\r\n")
        client.close()


for port in (8080, 8081):
    threading.Thread(target=answer, args=(socket.create_server(("0.0.0.0", port)),), daemon=True).start()
print("listening")
time.sleep(1000)
