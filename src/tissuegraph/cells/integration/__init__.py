"""What tg.integrate is made of."""
