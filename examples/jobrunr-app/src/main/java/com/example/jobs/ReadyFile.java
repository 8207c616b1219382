package com.example.jobs;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jobrunr.server.BackgroundJobServer;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.context.event.ApplicationReadyEvent;
import org.springframework.context.event.EventListener;
import org.springframework.stereotype.Component;

/**
 * Writes the file READY_FILE once the background job server runs, for a readiness probe: the workers listen to nothing, and
 * JobRunr starts its server only after Spring has said that the application is ready.
 */
@Component
@ConditionalOnProperty("READY_FILE")
class ReadyFile {

    private final ObjectProvider<BackgroundJobServer> server;
    private final Path file;

    ReadyFile(ObjectProvider<BackgroundJobServer> server, @Value("${READY_FILE}") Path file) {
        this.server = server;
        this.file = file;
    }

    @EventListener(ApplicationReadyEvent.class)
    void watch() {
        Thread thread = new Thread(this::writeOnceItRuns, "ready-file");
        thread.setDaemon(true);
        thread.start();
    }

    private void writeOnceItRuns() {
        try {
            while (!server.getObject().isRunning()) {
                Thread.sleep(200);
            }
            Files.writeString(file, "");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
