//! The social network's background jobs, on one PostgreSQL and on four shards: each is done once, outlives whoever had it, and is
//! given up in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use serde_json::json;
use social_app::config::{Cli, Command};
use social_app::db::{self, migrate};
use social_app::jobs::worker::{Bell, Carry};
use social_app::jobs::{self, Job, dead, queue, worker};
use social_app::{App, Error};
use tests::Cluster;
use tokio_util::sync::CancellationToken;

async fn app(url: &str, media: &tempfile::TempDir) -> App {
    migrate::migrate(&mut db::connect(url).await.unwrap())
        .await
        .unwrap();
    let media = media.path().to_str().unwrap();
    match Cli::parse_from(["social-app", "serve", url, "--media", media]).command {
        Command::Serve(config) => App::open(config).unwrap(),
        _ => unreachable!("it says serve"),
    }
}

/// Runs the same on both.
async fn on_both(name: &str, check: impl AsyncFn(App)) {
    let database = Cluster::shared().database(name);
    let media = tempfile::tempdir().unwrap();
    check(app(&database.oracle_url(), &media).await).await;
    check(app(&database.url(), &media).await).await;
}

async fn at_once(app: &App, sql: &str) {
    app.pool
        .get()
        .await
        .unwrap()
        .batch_execute(sql)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_job_outlives_its_worker_and_is_given_up_in_the_end() {
    on_both("jobs_states", async |app| {
        let client = app.pool.get().await.unwrap();
        let id = jobs::enqueue(&client, 7, "wash", &json!({"dishes": 3}))
            .await
            .unwrap();
        jobs::enqueue_after(&client, 7, "later", &json!({}), 3600.0)
            .await
            .unwrap();
        assert_eq!(queue::owners_due(&client, 10).await.unwrap(), [7]);
        let job = queue::claim(&client, 7).await.unwrap().unwrap();
        assert_eq!(
            (job.id, job.attempts, &job.payload),
            (id, 1, &json!({"dishes": 3}))
        );
        assert!(
            queue::claim(&client, 7).await.unwrap().is_none(),
            "it has a worker"
        );
        assert!(queue::renew(&client, &job).await.unwrap());

        // The worker is gone, and its lease ends.
        at_once(&app, "UPDATE jobs SET due = now() WHERE kind = 'wash'").await;
        let again = queue::claim(&client, 7).await.unwrap().unwrap();
        assert_eq!((again.id, again.attempts), (id, 2));
        assert!(
            !queue::renew(&client, &job).await.unwrap(),
            "the lease is another's"
        );
        assert!(
            !queue::finish(&client, &job).await.unwrap(),
            "and so is the job"
        );

        queue::fail(&client, &again, "no soap").await.unwrap();
        assert!(
            queue::claim(&client, 7).await.unwrap().is_none(),
            "it waits before it is tried again"
        );
        at_once(
            &app,
            "UPDATE jobs SET due = now(), attempts = max_attempts - 1 WHERE kind = 'wash'",
        )
        .await;
        let last = queue::claim(&client, 7).await.unwrap().unwrap();
        assert!(last.is_last_attempt());
        queue::put_off(&client, &last, "no water main")
            .await
            .unwrap();
        assert!(
            queue::claim(&client, 7).await.unwrap().is_none(),
            "it waits for what is away"
        );
        at_once(&app, "UPDATE jobs SET due = now() WHERE kind = 'wash'").await;
        let last = queue::claim(&client, 7).await.unwrap().unwrap();
        assert!(last.is_last_attempt(), "what is away is not its fault");
        queue::fail(&client, &last, "no water").await.unwrap();
        let dead = dead::list(&client, 10).await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(
            (dead[0].id, dead[0].last_error.as_deref()),
            (id, Some("no water"))
        );

        dead::retry(&client, 7, id).await.unwrap();
        assert!(matches!(
            dead::retry(&client, 7, id).await,
            Err(Error::NotFound)
        ));
        let retried = queue::claim(&client, 7).await.unwrap().unwrap();
        assert_eq!((retried.id, retried.attempts), (id, 1));
        // It takes its worker down each time, the last one, too.
        at_once(
            &app,
            "UPDATE jobs SET due = now(), attempts = max_attempts WHERE kind = 'wash'",
        )
        .await;
        assert!(queue::claim(&client, 7).await.unwrap().is_none());
        assert_eq!(queue::bury_lost(&client, 7).await.unwrap(), 1);
        dead::forget(&client, 7, id).await.unwrap();
        let counts = dead::counts(&client).await.unwrap();
        assert_eq!(counts.len(), 1);
        assert_eq!(
            (
                counts[0].kind.as_str(),
                counts[0].state.as_str(),
                counts[0].jobs
            ),
            ("later", "ready", 1)
        );
        at_once(&app, "DELETE FROM jobs").await;
    })
    .await;
}

/// Notes what is done; fails the first attempt at every third job.
#[derive(Default)]
struct Noting(Mutex<BTreeMap<i64, u32>>);

impl Carry for Noting {
    async fn carry(&self, _: &App, job: &Job) -> Result<(), Error> {
        let number = job.payload["number"].as_i64().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if number % 3 == 0 && job.attempts == 1 {
            return Err(anyhow::anyhow!("not at once").into());
        }
        *self.0.lock().unwrap().entry(number).or_default() += 1;
        Ok(())
    }
}

const JOBS: i64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_do_each_job_once() {
    on_both("jobs_once", async |app| {
        let client = app.pool.get().await.unwrap();
        for number in 0..JOBS {
            jobs::enqueue(&client, number % 12, "note", &json!({"number": number}))
                .await
                .unwrap();
        }
        drop(client);
        let (noting, stop) = (Arc::new(Noting::default()), CancellationToken::new());
        let processes: Vec<_> = (0..3)
            .map(|_| {
                let bell = Arc::new(Bell::default());
                tokio::spawn(worker::run(
                    app.clone(),
                    bell,
                    Arc::clone(&noting),
                    3,
                    stop.clone(),
                ))
            })
            .collect();
        tests::eventually("all jobs are done", async || {
            let client = app.pool.get().await.unwrap();
            let left = client
                .query_one("SELECT count(*) FROM jobs", &[])
                .await
                .unwrap();
            left.get::<_, i64>(0) == 0
        })
        .await;
        stop.cancel();
        for process in processes {
            process.await.unwrap();
        }
        let done = noting.0.lock().unwrap().clone();
        assert_eq!(done, (0..JOBS).map(|number| (number, 1)).collect());
    })
    .await;
}
