import static org.jobrunr.server.BackgroundJobServerConfiguration.usingStandardBackgroundJobServerConfiguration;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.h2.jdbcx.JdbcDataSource;
import org.jobrunr.configuration.JobRunr;
import org.jobrunr.jobs.annotations.Job;
import org.jobrunr.scheduling.JobScheduler;
import org.jobrunr.storage.sql.h2.H2StorageProvider;
import org.jobrunr.utils.mapper.JsonMapper;

/**
 * Runs a few jobs with each of the JSON mappers that the second argument names, and prints a line for each that ended: JobRunr's
 * version (the first argument), mapper, state, and the record (jobAsJson) as it lies in the database, separated by tabs.
 */
public class FinishedJobs {

    private static final AtomicBoolean FAILS = new AtomicBoolean();

    /** By name, so that this compiles without those that a version does not have. */
    private static final Map<String, String> MAPPERS = Map.of(
            "Jackson", "org.jobrunr.utils.mapper.jackson.JacksonJsonMapper",
            "Gson", "org.jobrunr.utils.mapper.gson.GsonJsonMapper",
            "JSON-B", "org.jobrunr.utils.mapper.jsonb.JsonbJsonMapper",
            "Jackson3", "org.jobrunr.utils.mapper.jackson3.Jackson3JsonMapper",
            "Kotlinx", "org.jobrunr.kotlin.utils.mapper.KotlinxSerializationJsonMapper");

    public void nothing(String name) {}

    public void sleep(String name, long millis) throws InterruptedException {
        Thread.sleep(millis);
    }

    public void fail_once(String name) {
        if (FAILS.getAndSet(false)) {
            throw new IllegalStateException("the \"first\" attempt");
        }
    }

    @Job(retries = 0)
    public void fail(String name) {
        throw new IllegalStateException("every attempt");
    }

    public static void main(String[] arguments) throws Exception {
        for (String mapper : arguments[1].split(",")) {
            JsonMapper instance = (JsonMapper) Class.forName(MAPPERS.get(mapper)).getConstructor().newInstance();
            run(arguments[0] + "\t" + mapper, instance);
        }
        System.exit(0);
    }

    private static void run(String name, JsonMapper mapper) throws Exception {
        JdbcDataSource database = new JdbcDataSource();
        database.setURL("jdbc:h2:mem:" + name.replace('\t', '-') + ";DB_CLOSE_DELAY=-1");
        JobScheduler scheduler = JobRunr.configure()
                .useJsonMapper(mapper)
                .useStorageProvider(new H2StorageProvider(database))
                .useBackgroundJobServer(
                        usingStandardBackgroundJobServerConfiguration().andWorkerCount(4).andPollIntervalInSeconds(5))
                .initialize()
                .getJobScheduler();
        FAILS.set(true);
        scheduler.<FinishedJobs>enqueue(jobs -> jobs.nothing("enqueued"));
        scheduler.<FinishedJobs>enqueue(jobs -> jobs.sleep("enqueued", 2500));
        scheduler.<FinishedJobs>schedule(Instant.now().plus(Duration.ofSeconds(6)), jobs -> jobs.sleep("scheduled", 300));
        scheduler.<FinishedJobs>enqueue(jobs -> jobs.fail_once("retried"));
        scheduler.<FinishedJobs>enqueue(jobs -> jobs.fail("failed"));
        scheduler.<FinishedJobs>scheduleRecurrently("a-run", "*/15 * * * * *", jobs -> jobs.sleep("recurring", 100));
        try (Connection connection = database.getConnection()) {
            // The run of the recurring job is the last to end.
            Instant end = Instant.now().plusSeconds(90);
            while (ended(connection, "AND recurringJobId IS NOT NULL") < 1 || ended(connection, "") < 6) {
                if (Instant.now().isAfter(end)) {
                    throw new IllegalStateException(name + ": the jobs did not end");
                }
                Thread.sleep(200);
            }
            print(name, connection);
        }
        JobRunr.destroy();
    }

    private static int ended(Connection connection, String condition) throws SQLException {
        String sql = "SELECT count(*) FROM jobrunr_jobs WHERE state IN ('SUCCEEDED', 'FAILED') ";
        try (ResultSet rows = connection.createStatement().executeQuery(sql + condition)) {
            rows.next();
            return rows.getInt(1);
        }
    }

    private static void print(String name, Connection connection) throws SQLException {
        String sql = "SELECT state, jobAsJson FROM jobrunr_jobs WHERE state IN ('SUCCEEDED', 'FAILED') ORDER BY updatedAt";
        try (ResultSet rows = connection.createStatement().executeQuery(sql)) {
            while (rows.next()) {
                System.out.println(name + "\t" + rows.getString(1) + "\t" + rows.getString(2));
            }
        }
    }
}
