-- The ledger of graftwork, version 1 (`PRAGMA user_version`).
--
-- Times are milliseconds since 1970. Keys are stage keys: 64 hexadecimal digits that name a
-- checkpoint in the store. Written by graftwork alone; read it with `graftwork query`.

-- The text of an experiment file, kept once however often it ran.
CREATE TABLE source (
    digest TEXT PRIMARY KEY,            -- BLAKE3
    text   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE experiment (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The trials of one version of an experiment. Runs that change nothing share it.
CREATE TABLE trial_set (
    id     INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE         -- BLAKE3 of settings, seeds, stage names and keys
) STRICT;

-- One call of `graftwork run`.
CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiment,
    file       TEXT NOT NULL,
    source     TEXT NOT NULL REFERENCES source,
    command    TEXT NOT NULL,
    host       TEXT NOT NULL,
    version    TEXT NOT NULL,           -- of graftwork
    trial_set  INTEGER REFERENCES trial_set, -- NULL: it ended before its trials were known
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,                 -- NULL: it still runs, or was killed
    outcome    TEXT
) STRICT;
CREATE INDEX run_experiment ON run (experiment);

-- What decides a stage's result.
CREATE TABLE recipe (
    key      TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,             -- pretrain, prune, finetune, adapt, evaluate
    revision INTEGER NOT NULL,
    seed     INTEGER,                   -- NULL: no random draw takes part
    json     TEXT NOT NULL              -- the whole recipe
) STRICT, WITHOUT ROWID;

-- The settings of a recipe that differ from their defaults: ('criterion.min-mse.hessian', 'diag').
CREATE TABLE param (
    key   TEXT NOT NULL REFERENCES recipe,
    path  TEXT NOT NULL,
    value ANY,
    PRIMARY KEY (key, path)
) STRICT, WITHOUT ROWID;

-- The checkpoints that a stage reads: (key, 'from', input).
CREATE TABLE lineage (
    key   TEXT NOT NULL REFERENCES recipe,
    role  TEXT NOT NULL,
    input TEXT NOT NULL,
    PRIMARY KEY (key, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_input ON lineage (input);

-- One combination of the sweep with one seed.
CREATE TABLE trial (
    id        INTEGER PRIMARY KEY,
    trial_set INTEGER NOT NULL REFERENCES trial_set,
    settings  TEXT NOT NULL,            -- JSON: axis to value; settings ->> 'thin.sparsity'
    seed      INTEGER NOT NULL
) STRICT;
CREATE INDEX trial_trial_set ON trial (trial_set);

CREATE TABLE trial_stage (
    trial    INTEGER NOT NULL REFERENCES trial,
    position INTEGER NOT NULL,          -- order in the file
    name     TEXT NOT NULL,
    key      TEXT NOT NULL,
    PRIMARY KEY (trial, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX trial_stage_key ON trial_stage (key);

-- One execution of a stage by an engine.
CREATE TABLE attempt (
    id         INTEGER PRIMARY KEY,
    run        INTEGER REFERENCES run,  -- NULL: restored from the store
    key        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,           -- the stage's name in that run
    device     TEXT NOT NULL,
    engine     TEXT NOT NULL,           -- version of the engine
    libtorch   TEXT NOT NULL,
    threads    INTEGER NOT NULL,
    host       TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    outcome    TEXT CHECK (outcome IN ('done', 'failed', 'stopped', 'lost')), -- NULL: under way
    error      TEXT
) STRICT;
CREATE INDEX attempt_key ON attempt (key);
CREATE INDEX attempt_run ON attempt (run);

CREATE TABLE metric_name (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,       -- mnist:test/accuracy
    dataset TEXT,                       -- mnist
    split   TEXT,                       -- test
    what    TEXT NOT NULL               -- accuracy
) STRICT;

CREATE TABLE metric (
    attempt INTEGER NOT NULL,
    name    INTEGER NOT NULL,
    step    INTEGER NOT NULL,           -- epoch, 1-based; 0 before training
    value   REAL,                       -- NULL: not a number
    PRIMARY KEY (attempt, name, step)
) STRICT, WITHOUT ROWID;

-- Every value of every trial of each experiment's last run. A stage that was cached shows the
-- numbers of the attempt that made its checkpoint.
CREATE VIEW result AS
SELECT
    experiment.name      AS experiment,
    trial.id             AS trial,
    trial.settings       AS settings,
    trial.seed           AS seed,
    trial_stage.name     AS stage,
    attempt.kind         AS kind,
    trial_stage.key      AS key,
    metric_name.name     AS metric,
    metric_name.dataset  AS dataset,
    metric_name.split    AS split,
    metric_name.what     AS what,
    metric.step          AS step,
    metric.value         AS value
FROM experiment
JOIN run ON run.id = (
    SELECT max(last.id) FROM run AS last
    WHERE last.experiment = experiment.id AND last.trial_set IS NOT NULL
)
JOIN trial ON trial.trial_set = run.trial_set
JOIN trial_stage ON trial_stage.trial = trial.id
JOIN attempt ON attempt.id = (
    SELECT max(good.id) FROM attempt AS good
    WHERE good.key = trial_stage.key AND good.outcome = 'done'
)
JOIN metric ON metric.attempt = attempt.id
JOIN metric_name ON metric_name.id = metric.name;
