from configs import continuous
def get_config():
  config = continuous.get_config()
  config.data = {"corpus": {"name": "stdlib_docs"}, "tokenizer": {"name": "text8"}, "packing": "stream", "length": 64, "directory": "/tmp/wt/continuous/data"}
  config.process.schedule = {"name": "monotone"}
  config.process.self_conditioning = 0.25
  config.network.update(width=128, heads=4, depth=4, dropout=0.0, norm="rms", qk_norm=True)
  config.optimizer.update(name="muon", learning_rate=2e-3, matrix_learning_rate=1e-2, warmup_steps=100, decay="linear")
  config.training.update(steps=600, batch_size=64, log_every=50, evaluate_every=600, ema_decay=0.995)
  config.evaluation.update(rows=512, batch_size=64)
  config.checkpoint.update(save_every=600)
  return config
