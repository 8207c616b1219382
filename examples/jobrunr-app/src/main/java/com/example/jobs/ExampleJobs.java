package com.example.jobs;

import java.time.Duration;
import org.jobrunr.jobs.context.JobContext;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.stereotype.Component;

/** The work itself: it takes a worker for some time and does nothing. */
@Component
public class ExampleJobs {

    private static final Logger LOG = LoggerFactory.getLogger(ExampleJobs.class);

    /** The duration is text, because a job's parameters are stored as JSON and not every JSON mapper knows durations. */
    public void sleep(String duration, JobContext context) throws InterruptedException {
        // One line for each run: this is how one sees from outside that no job ran twice.
        LOG.info("job {} starts", context.getJobId());
        Thread.sleep(Duration.parse(duration).toMillis());
        LOG.info("job {} ends", context.getJobId());
    }
}
