// FerretDB, a server with MongoDB's protocol over SQLite files, as a program of one file, for tests:
//
//	ferretdb ADDRESS FOLDER [CERTIFICATE KEY]
//
// It prints "ready" when it accepts connections, over TLS if there is a certificate, and ends on SIGTERM.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 5 {
		log.Fatal("usage: ferretdb ADDRESS FOLDER [CERTIFICATE KEY]")
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	config := ferretdb.Config{Handler: "sqlite", SQLiteURL: "file:" + os.Args[2] + "/"}
	if len(os.Args) == 5 {
		config.Listener = ferretdb.ListenerConfig{TLS: os.Args[1], TLSCertFile: os.Args[3], TLSKeyFile: os.Args[4]}
	} else {
		config.Listener = ferretdb.ListenerConfig{TCP: os.Args[1]}
	}
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server, err := ferretdb.New(&config)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	if err := server.Run(stopped); err != nil {
		log.Fatal(err)
	}
}
