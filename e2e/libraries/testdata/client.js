// client.js URL CAFILE|- COUNT: gets the URL COUNT times at once. "-" is told to verify nothing.
const [url, roots, count] = process.argv.slice(2);
const options = roots === "-" ? { rejectUnauthorized: false } : { ca: require("fs").readFileSync(roots) };
const agent = new (require("https").Agent)({ keepAlive: false, maxCachedSessions: 0, ...options });
const get = () =>
  new Promise((resolve, reject) => {
    require("https").get(url, { agent }, (r) => r.resume().on("end", resolve)).on("error", reject);
  });
Promise.all(Array.from({ length: Number(count) }, get)).catch((e) => {
  console.error(`${e.code}: ${e.message}`);
  process.exit(1);
});
