"""Assignment by a network that was trained on simulated tissue and knows no gene: any panel, no training."""
