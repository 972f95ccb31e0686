from configs import default


def get_config(schedule=''):
  config = default.get_config(schedule)
  config.data.corpus = 'bgl'
  return config
