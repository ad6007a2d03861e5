"""The fields of manifests that launch/ uses, as JSON schemas: all others are mistakes of spelling.

From the references of JobSet v1alpha2 (jobset.sigs.k8s.io), Kubernetes batch/v1 and core/v1, and of
SkyPilot's task files.
"""


def record(required, **optional):
  """An object with exactly these fields."""
  return {
    "type": "object",
    "properties": {**required, **optional},
    "required": list(required),
    "additionalProperties": False,
  }


def array(items, least=1):
  return {"type": "array", "items": items, "minItems": least}


def one_of(*values):
  return {"enum": list(values)}


TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
NUMBER = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}

CONTAINER = record(
  {"name": NAME, "image": TEXT},
  command=array(TEXT),
  args=array({"type": "string"}),
  env=array(record({"name": TEXT, "value": {"type": "string"}})),
  ports=array(record({"containerPort": {"type": "integer", "minimum": 1, "maximum": 65535}})),
  resources=record({"limits": {"type": "object", "additionalProperties": COUNT}}),
)
POD = record(
  {"containers": array(CONTAINER), "restartPolicy": one_of("Never")},  # podFailurePolicy wants it
  terminationGracePeriodSeconds=NUMBER,
  nodeSelector=TEXTS,
)
EXIT_CODES = record(
  {"operator": one_of("In", "NotIn"), "values": array(NUMBER)}, containerName=NAME
)
POD_FAILURES = record(
  {"rules": array(record({"action": one_of("FailJob", "Ignore", "Count")}, onExitCodes=EXIT_CODES))}
)
JOB = record(
  {"template": record({"spec": POD})},
  parallelism=COUNT,
  completions=COUNT,
  backoffLimit=NUMBER,
  podFailurePolicy=POD_FAILURES,
)
FAILURES = record(
  {"maxRestarts": NUMBER},
  rules=array(
    record(
      {"action": one_of("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")},
      onJobFailureReasons=array(
        one_of("BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy")
      ),
    )
  ),
)
JOBSET = record(
  {
    "apiVersion": one_of("jobset.x-k8s.io/v1alpha2"),
    "kind": one_of("JobSet"),
    "metadata": record({"name": NAME}, annotations=TEXTS),
    "spec": record(
      {
        "replicatedJobs": array(
          record({"name": NAME, "template": record({"spec": JOB})}, replicas=COUNT)
        )
      },
      ttlSecondsAfterFinished=NUMBER,
      failurePolicy=FAILURES,
    ),
  }
)

RESOURCES = record(
  {"accelerators": {"type": "string", "pattern": "^[A-Za-z0-9-]+:[1-9][0-9]*$"}},
  use_spot={"type": "boolean"},
  job_recovery=record(
    {"strategy": one_of("FAILOVER", "EAGER_NEXT_REGION")}, max_restarts_on_errors=NUMBER
  ),
)
MOUNT = record({"name": NAME, "mode": one_of("MOUNT", "COPY", "MOUNT_CACHED")})
SKYPILOT = record(
  {"run": TEXT},
  name=NAME,
  resources=RESOURCES,
  num_nodes=COUNT,
  workdir=TEXT,
  file_mounts={
    "type": "object",
    "patternProperties": {"^/": MOUNT},
    "additionalProperties": False,
  },
  envs=TEXTS,
  setup=TEXT,
)
