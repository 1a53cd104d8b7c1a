// client-crt.js PACKAGE HOST CAFILE|- COUNT: gets https://HOST/ COUNT times at once over the AWS Common Runtime of npm's aws-crt, unpacked in a directory.
// "-" is told to verify nothing.
const [, , directory, host, roots, count] = process.argv;
const http = require(`${directory}/dist/native/http`);
const io = require(`${directory}/dist/native/io`);
const options = new io.TlsContextOptions();
options.min_tls_version = io.TlsVersion.TLSv1_2;
options.verify_peer = roots !== "-";
if (options.verify_peer) options.override_default_trust_store_from_path(undefined, roots);
const tls = new io.TlsConnectionOptions(new io.ClientTlsContext(options), host);
const get = () =>
  new Promise((resolve, reject) => {
    const connection = new http.HttpClientConnection(new io.ClientBootstrap(), host, 443, new io.SocketOptions(), tls);
    connection.on("error", reject);
    connection.on("connect", () => {
      const stream = connection.request(new http.HttpRequest("GET", "/", new http.HttpHeaders([["Host", host]])));
      stream.on("error", reject);
      stream.on("response", () => {}); // what comes is held back until somebody wants it
      stream.on("end", resolve);
      stream.activate();
    });
  });
Promise.all(Array.from({ length: Number(count) }, get)).then(
  () => setTimeout(() => process.exit(0), process.env.CLIENT_WAIT ? 1000 : 0),
  (e) => {
    console.error(String(e));
    process.exit(1);
  },
);
