-- The tables of JobRunr 8 that a server and a client write, as its migrations leave them on SQLite.
-- The tests derive those of other databases from this file: tests/support/schema.rs.
CREATE TABLE jobrunr_jobs (
    id NCHAR(36) PRIMARY KEY,
    version INT NOT NULL,
    jobAsJson TEXT NOT NULL,
    jobSignature VARCHAR(512) NOT NULL,
    state VARCHAR(36) NOT NULL,
    createdAt TIMESTAMP NOT NULL,
    updatedAt TIMESTAMP NOT NULL,
    scheduledAt TIMESTAMP NULL,
    recurringJobId VARCHAR(128) NULL
);
CREATE INDEX jobrunr_state_idx ON jobrunr_jobs (state);
CREATE INDEX jobrunr_job_signature_idx ON jobrunr_jobs (jobSignature);
CREATE INDEX jobrunr_job_created_at_idx ON jobrunr_jobs (createdAt);
CREATE INDEX jobrunr_job_scheduled_at_idx ON jobrunr_jobs (scheduledAt);
CREATE INDEX jobrunr_job_rci_idx ON jobrunr_jobs (recurringJobId);
CREATE INDEX jobrunr_jobs_state_updated_idx ON jobrunr_jobs (state, updatedAt);

CREATE TABLE jobrunr_recurring_jobs (
    id NCHAR(128) PRIMARY KEY,
    version INT NOT NULL,
    jobAsJson TEXT NOT NULL,
    createdAt BIGINT NOT NULL
);

CREATE TABLE jobrunr_backgroundjobservers (
    id NCHAR(36) PRIMARY KEY,
    workerPoolSize INT NOT NULL,
    pollIntervalInSeconds INT NOT NULL,
    firstHeartbeat TIMESTAMP NOT NULL,
    lastHeartbeat TIMESTAMP NOT NULL,
    running INT NOT NULL,
    systemTotalMemory BIGINT NOT NULL,
    systemFreeMemory BIGINT NOT NULL,
    systemCpuLoad NUMERIC(3, 2) NOT NULL,
    processMaxMemory BIGINT NOT NULL,
    processFreeMemory BIGINT NOT NULL,
    processAllocatedMemory BIGINT NOT NULL,
    processCpuLoad NUMERIC(3, 2) NOT NULL,
    deleteSucceededJobsAfter VARCHAR(32) NULL,
    permanentlyDeleteJobsAfter VARCHAR(32) NULL,
    name VARCHAR(128) NULL
);
CREATE INDEX jobrunr_bgjobsrvrs_fsthb_idx ON jobrunr_backgroundjobservers (firstHeartbeat);
CREATE INDEX jobrunr_bgjobsrvrs_lsthb_idx ON jobrunr_backgroundjobservers (lastHeartbeat);

CREATE TABLE jobrunr_migrations (
    id NCHAR(36) PRIMARY KEY,
    script VARCHAR(64) NOT NULL,
    installedOn VARCHAR(29) NOT NULL
);
INSERT INTO jobrunr_migrations VALUES
    ('00000000-0000-4000-8000-000000000000', 'v000__create_migrations_table.sql', '2026-11-23T20:00:00.000000Z'),
    ('00000000-0000-4000-8000-000000000016', 'v016__alter_jobs_stats_add_awaiting_jobs.sql', '2026-11-23T20:00:00.000000Z');

CREATE TABLE jobrunr_metadata (
    id VARCHAR(156) PRIMARY KEY,
    name VARCHAR(92) NOT NULL,
    owner VARCHAR(64) NOT NULL,
    value TEXT NOT NULL,
    createdAt TIMESTAMP NOT NULL,
    updatedAt TIMESTAMP NOT NULL
);
