package com.example.jobs;

import java.time.Duration;
import java.time.Instant;
import org.jobrunr.jobs.context.JobContext;
import org.jobrunr.scheduling.JobScheduler;
import org.springframework.context.annotation.Profile;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Brings in work. GET, although it changes something, so that a browser's address bar is all one needs to try it. */
@RestController
@Profile("web")
public class ScheduleController {

    private final JobScheduler scheduler;

    ScheduleController(JobScheduler scheduler) {
        this.scheduler = scheduler;
    }

    @GetMapping("/schedule-example-jobs")
    public String schedule(
            @RequestParam(defaultValue = "40") int count,
            @RequestParam(defaultValue = "PT2M") Duration runIn,
            @RequestParam(defaultValue = "PT1M") Duration duration) {
        // All for the same instant: a peak is what an autoscaler should see coming.
        Instant runAt = Instant.now().plus(runIn);
        String sleep = duration.toString();
        for (int i = 0; i < count; i++) {
            scheduler.<ExampleJobs>schedule(runAt, jobs -> jobs.sleep(sleep, JobContext.Null));
        }
        return "Scheduled " + count + " jobs for " + runAt + "\n";
    }

    @GetMapping("/enqueue-example-jobs")
    public String enqueue(
            @RequestParam(defaultValue = "40") int count, @RequestParam(defaultValue = "PT1M") Duration duration) {
        String sleep = duration.toString();
        for (int i = 0; i < count; i++) {
            scheduler.<ExampleJobs>enqueue(jobs -> jobs.sleep(sleep, JobContext.Null));
        }
        return "Enqueued " + count + " jobs\n";
    }

    /**
     * Only on request, never at start: registering a recurring job again resets its creation time, and with that the next
     * run of an interval. Workers that did so at every start would move their schedule whenever they are scaled.
     */
    @GetMapping("/schedule-recurring-job")
    public String scheduleRecurrently(
            @RequestParam String id,
            @RequestParam String cron,
            @RequestParam(defaultValue = "PT1M") Duration duration) {
        String sleep = duration.toString();
        scheduler.<ExampleJobs>scheduleRecurrently(id, cron, jobs -> jobs.sleep(sleep, JobContext.Null));
        return "Scheduled " + id + " for " + cron + "\n";
    }
}
